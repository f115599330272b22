import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { text } from "node:stream/consumers";
import { toolEnvironment } from "../mounts/run.ts";
import { within } from "../within.ts";

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
		await runMount(["-t", `fuse.${subtype}`, "-o", mountOptions.join(","), "--", source, target], fd, signal);
		return fd;
	} catch (error) {
		closeSync(fd);
		throw error;
	}
}

async function runMount(args: readonly string[], fd: number, signal: AbortSignal): Promise<void> {
	// -i: no helper of libfuse; -n: the image may have no /etc/mtab.
	const child = spawn("mount", ["-i", "-n", ...args], {
		env: toolEnvironment(),
		cwd: "/",
		// execa takes no descriptors by number; mount does not read its standard input.
		stdio: [fd, "ignore", "pipe"],
	});
	// It may hang in the kernel, where a dead mount is on the way to the target, and then SIGKILL does not end it: wait no longer.
	const ended = Promise.all([
		child.stderr === null ? "" : text(child.stderr),
		once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>,
	]);
	const outcome = await within(ended, mountTimeoutMs, signal);
	if (outcome === undefined) {
		child.kill("SIGKILL");
		child.unref();
		child.stderr?.destroy();
		signal.throwIfAborted();
		throw new Error("mount did not return");
	}
	const [message, [exitCode]] = outcome;
	if (exitCode !== 0) throw new Error(message.trim().slice(0, 300) || "mount was killed");
}
