import { closeSync, openSync } from "node:fs";
import { execa } from "execa";

export interface MountOptions {
	readonly target: string;
	/** What the kernel shows as the mounted thing. */
	readonly source: string;
	/** The kernel shows the type `fuse.<subtype>`. */
	readonly subtype: string;
	readonly readOnly: boolean;
	/** Lets users other than the mount's own use it; the kernel then checks the modes that the filesystem shows. */
	readonly allowOther: boolean;
	readonly signal: AbortSignal;
}

const mountTimeoutMs = 10_000;

/**
 * Opens /dev/fuse and mounts it. Returns the descriptor, which is to be closed by whoever called: the mount lives as long as some
 * process has it. Nothing is served yet, and who touches the target waits.
 */
export async function openAndMount(options: MountOptions): Promise<number> {
	const { target, source, subtype, readOnly, allowOther, signal } = options;
	signal.throwIfAborted();
	const fd = openSync("/dev/fuse", "r+");
	try {
		const mountOptions = [
			"fd=0",
			"rootmode=40000",
			"user_id=0",
			"group_id=0",
			"default_permissions",
			"nosuid",
			"nodev",
			...(allowOther ? ["allow_other"] : []),
			readOnly ? "ro" : "rw",
		];
		// -i: no helper of libfuse; -n: the image may have no /etc/mtab.
		const { failed, stderr, timedOut } = await execa(
			"mount",
			["-i", "-n", "-t", `fuse.${subtype}`, "-o", mountOptions.join(","), "--", source, target],
			{
				env: { PATH: process.env["PATH"], LC_ALL: "C" },
				extendEnv: false,
				cwd: "/",
				// As standard input, which mount does not read.
				stdin: fd,
				stdout: "ignore",
				reject: false,
				timeout: mountTimeoutMs,
				maxBuffer: 65_536,
			},
		);
		if (failed) throw new Error(timedOut ? "mount did not return" : stderr.trim().slice(0, 300));
		return fd;
	} catch (error) {
		closeSync(fd);
		throw error;
	}
}
