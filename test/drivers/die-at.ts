import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import net from "node:net";
import { join } from "node:path";

/*
 * Loaded into a filesystem's process before its program: kills it in a chosen one of those moments between which nothing can come that somebody
 * else could tell from another. What leaves the process are calls to the operating system, and what it is told comes from there: it is killed
 * before or after the n-th of those.
 */

const folder = process.env["DIE_AT"] ?? "";
/** The device of the kernel. */
const fuse = 3;
const { appendFileSync, readFileSync, readlinkSync, rmSync, writeFileSync } = fs;
let left = Infinity;

function arm(file: string): void {
	try {
		left = Number(readFileSync(join(folder, file), "utf8"));
		rmSync(join(folder, file));
	} catch {
		// It is to live.
		left = Infinity;
	}
}

arm("at-start");
process.on("SIGUSR2", () => {
	arm("armed");
	writeFileSync(join(folder, "is-armed"), "");
});

function moment(what: string, where: unknown): void {
	if (left === Infinity || --left > 0) return;
	left = Infinity;
	appendFileSync(join(folder, "died"), `${what} ${typeof where === "number" ? nameOf(where) : String(where)}\n`);
	process.kill(process.pid, "SIGKILL");
}

function nameOf(fd: number): string {
	return fd === fuse ? "the kernel" : readlinkSync(`/proc/self/fd/${fd}`);
}

function around<Args extends unknown[], Result>(
	what: string,
	call: (...args: Args) => Result,
): (...args: Args) => Result {
	return function (this: unknown, ...args: Args) {
		moment(`before ${what}`, args[0]);
		const result = call.apply(this, args);
		moment(`after ${what}`, args[0]);
		return result;
	};
}

const { read, promises } = fs;
Object.assign(fs, {
	read: (fd: number, ...args: unknown[]) => {
		const done = args.pop() as (...results: unknown[]) => void;
		const heard = (...results: unknown[]): void => {
			if (fd === fuse) moment("after reading", fd);
			done(...results);
		};
		Reflect.apply(read, fs, [fd, ...args, heard]);
	},
	writeSync: around("writing", fs.writeSync),
	writevSync: around("writing", fs.writevSync),
	openSync: around("opening", fs.openSync),
	renameSync: around("renaming", fs.renameSync),
	unlinkSync: around("removing", fs.unlinkSync),
	ftruncateSync: around("cutting", fs.ftruncateSync),
});
promises.unlink = around("removing", promises.unlink);

type Writer = (...args: unknown[]) => void;
type Writers = Record<"_write" | "_writev", Writer>;
const { connect } = net;
Object.assign(net, {
	connect: (options: { readonly onread: { readonly callback: (...args: unknown[]) => boolean } }) => {
		const { onread } = options;
		const callback = (...args: unknown[]): boolean => {
			moment("after hearing", "the server");
			return onread.callback(...args);
		};
		const socket = Reflect.apply(connect, net, [{ ...options, onread: { ...onread, callback } }]) as Writers;
		for (const name of ["_write", "_writev"] as const) {
			const write = socket[name];
			socket[name] = (...args) => {
				moment("before telling", "the server");
				write.apply(socket, args);
				moment("after telling", "the server");
			};
		}
		return socket;
	},
});
syncBuiltinESMExports();
