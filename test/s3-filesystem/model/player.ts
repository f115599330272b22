/**
 * Makes the calls of one player, one after the other: a line of JSON says what to do, a line of JSON answers. A process of its own,
 * since a call that hangs cannot be taken back, only its process ended.
 */
import { execFileSync } from "node:child_process";
import fs, { constants as constantsOfFiles, type Stats } from "node:fs";
import { constants } from "node:os";
import { createInterface } from "node:readline";
import { digestOf, bytesOf, type Operation, type Outcome, type Status } from "./operation.ts";

const descriptors = new Map<number, number>();
const done: Outcome = { done: true };

function outcomeOf(operation: Operation): Outcome {
	try {
		return perform(placed(operation));
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		if (code === undefined) throw error;
		// libuv has no name for it.
		return { error: code.endsWith(` -${constants.errno.ESTALE}`) ? "ESTALE" : code };
	}
}

/** With the paths that the kernel knows. */
function placed(operation: Operation): Operation {
	const pathOf = (path: string): string =>
		path.replace(/^@(\d+)/, (_, handle) => `/proc/${process.pid}/fd/${descriptorOf(Number(handle))}`);
	return {
		...operation,
		...("path" in operation && { path: pathOf(operation.path) }),
		...("to" in operation && { to: pathOf(operation.to) }),
	};
}

function perform(operation: Operation): Outcome {
	switch (operation.op) {
		case "open":
			descriptors.set(operation.handle, fs.openSync(operation.path, operation.flags, operation.mode));
			return done;
		case "close": {
			const descriptor = descriptorOf(operation.handle);
			descriptors.delete(operation.handle);
			fs.closeSync(descriptor);
			return done;
		}
		case "read":
			return { digest: digestOf(readAt(descriptorOf(operation.handle), operation.offset, operation.lengthBytes)) };
		case "write": {
			const { handle, offset, lengthBytes, pieceBytes, seed } = operation;
			const bytes = bytesOf(seed, lengthBytes);
			for (let at = 0; at < lengthBytes;) {
				const length = Math.min(pieceBytes, lengthBytes - at);
				at += fs.writeSync(descriptorOf(handle), bytes, at, length, offset + at);
			}
			return done;
		}
		case "ftruncate":
			fs.ftruncateSync(descriptorOf(operation.handle), operation.sizeBytes);
			return done;
		case "fsync":
			if (operation.dataOnly) fs.fdatasyncSync(descriptorOf(operation.handle));
			else fs.fsyncSync(descriptorOf(operation.handle));
			return done;
		case "fstat":
			return { status: statusOf(fs.fstatSync(descriptorOf(operation.handle))) };
		case "truncate":
			// Node's truncateSync and truncate(1) open the file; Perl makes the call.
			execute("perl", [
				"-e",
				'truncate($ARGV[0], $ARGV[1]) or die "$!\\n"',
				"--",
				operation.path,
				String(operation.sizeBytes),
			]);
			return done;
		case "unlink":
			fs.unlinkSync(operation.path);
			return done;
		case "rename":
			fs.renameSync(operation.path, operation.to);
			return done;
		case "mknod":
			// mknod(1) makes no regular files; -100 is the current directory.
			execute("perl", [
				"-e",
				'syscall($ARGV[0] + 0, -100, $ARGV[1], $ARGV[2] + 0, 0) == 0 or die "$!\\n"',
				"--",
				process.arch === "arm64" ? "33" : "259",
				operation.path,
				String(constantsOfFiles.S_IFREG | operation.mode),
			]);
			return done;
		case "mkdir":
			fs.mkdirSync(operation.path, operation.mode);
			return done;
		case "rmdir":
			fs.rmdirSync(operation.path);
			return done;
		case "symlink":
			fs.symlinkSync(operation.target, operation.path);
			return done;
		case "readlink":
			return { text: fs.readlinkSync(operation.path) };
		case "link":
			fs.linkSync(operation.path, operation.to);
			return done;
		case "chmod":
			fs.chmodSync(operation.path, operation.mode);
			return done;
		case "chown":
			fs.lchownSync(operation.path, operation.uid, operation.gid);
			return done;
		case "utimes":
			fs.lutimesSync(operation.path, operation.atimeMs / 1000, operation.mtimeMs / 1000);
			return done;
		case "lstat":
			return { status: statusOf(fs.lstatSync(operation.path)) };
		case "readdir":
			return {
				names: fs.readdirSync(operation.path, { withFileTypes: true }).map((entry) => `${kindOf(entry)} ${entry.name}`),
			};
		case "readFile": {
			const descriptor = fs.openSync(operation.path, "r");
			try {
				const { size } = fs.fstatSync(descriptor);
				const pieces: Buffer[] = [];
				for (let offset = 0; ;) {
					const piece = readAt(descriptor, offset, Math.min(operation.pieceBytes, Math.max(1, size - offset + 1)));
					if (piece.length === 0) break;
					pieces.push(piece);
					offset += piece.length;
				}
				return { digest: digestOf(Buffer.concat(pieces)) };
			} finally {
				fs.closeSync(descriptor);
			}
		}
		case "setxattr":
			execute("setfattr", ["-n", operation.name, "-v", `0s${operation.value}`, "--", operation.path]);
			return done;
		case "getxattr":
			return {
				text: execute("getfattr", ["--only-values", "-n", operation.name, "--", operation.path]).toString("base64"),
			};
		case "removexattr":
			execute("setfattr", ["-x", operation.name, "--", operation.path]);
			return done;
		case "listxattr": {
			const lines = execute("getfattr", ["--", operation.path]).toString().split("\n");
			return { names: lines.filter((line) => line.startsWith("user.")) };
		}
		default:
			return operation satisfies never;
	}
}

function descriptorOf(handle: number): number {
	const descriptor = descriptors.get(handle);
	if (descriptor === undefined) throw new Error(`handle ${handle} is not open`);
	return descriptor;
}

/** Until so many bytes are there or the file ends. */
function readAt(descriptor: number, offset: number, lengthBytes: number): Buffer {
	const bytes = Buffer.alloc(lengthBytes);
	let filled = 0;
	while (filled < lengthBytes) {
		const count = fs.readSync(descriptor, bytes, filled, lengthBytes - filled, offset + filled);
		if (count === 0) break;
		filled += count;
	}
	return bytes.subarray(0, filled);
}

/** Runs a program that makes one call that Node lacks; its message tells the error. */
function execute(program: string, args: readonly string[]): Buffer {
	try {
		return execFileSync(program, args, {
			env: { PATH: process.env["PATH"], LC_ALL: "C" },
			stdio: ["ignore", "pipe", "pipe"],
		});
	} catch (error) {
		const message = String((error as { stderr?: Buffer }).stderr ?? error);
		const code = Object.entries(messages).find(([text]) => message.includes(text))?.[1];
		throw code === undefined ? error : Object.assign(new Error(message, { cause: error }), { code });
	}
}

const messages: Readonly<Record<string, string>> = {
	"No such file or directory": "ENOENT",
	"Not a directory": "ENOTDIR",
	"Is a directory": "EISDIR",
	"File exists": "EEXIST",
	"No such attribute": "ENODATA",
	"No data available": "ENODATA",
	"No space left on device": "ENOSPC",
	"Operation not supported": "ENOTSUP",
	"Operation not permitted": "EPERM",
	"File name too long": "ENAMETOOLONG",
	"Stale file handle": "ESTALE",
	"Input/output error": "EIO",
	"Too many levels of symbolic links": "ELOOP",
	"Bad file descriptor": "EBADF",
};

function kindOf(entry: fs.Dirent | Stats): Status["kind"] {
	if (entry.isFile()) return "file";
	if (entry.isDirectory()) return "directory";
	return entry.isSymbolicLink() ? "symlink" : "other";
}

function statusOf(stats: Stats): Status {
	const { size, mode, uid, gid, atimeMs, mtimeMs, ino, nlink } = stats;
	return { kind: kindOf(stats), sizeBytes: size, mode: mode & 0o7777, uid, gid, atimeMs, mtimeMs, ino, nlink };
}

process.umask(0);
process.chdir(process.argv[2] ?? ".");

for await (const line of createInterface({ input: process.stdin })) {
	process.stdout.write(`${JSON.stringify(outcomeOf(JSON.parse(line) as Operation))}\n`);
}
