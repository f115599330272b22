import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { execa } from "execa";
import type { Minio } from "../support/minio.ts";
import { Pod } from "../support/pod.ts";
import { minioPod } from "../support/s3-drivers.ts";
import type { Outcomes } from "./compare.ts";

/** Tests that others wrote for filesystems, as a contributor has them on disk. */
export interface Suite {
	readonly name: string;
	/** The environment's variable that says where it is. */
	readonly variable: string;
	/** What is there. */
	readonly place: string;
	/** A program that is found without the variable. */
	readonly installed?: string;
	/** Whether a run may be of some of its tests. */
	readonly divisible?: boolean;
	/** Runs these tests, or all. */
	run(path: string, stage: Stage, tests: readonly string[]): Promise<Outcomes>;
}

/** What a suite runs on: a server of its own, and mounts by the real launcher. */
export interface Stage {
	readonly minio: Minio;
	/** An empty folder outside of any mount, for the suite's own files. */
	readonly folder: string;
	/** A folder that is kept, for what helps to understand a failure. */
	readonly kept: string;
	/** Mounts a bucket, which is made if need be; it is unmounted after the suite at the latest. */
	mount(bucket: string, options?: Readonly<Record<string, string>>): Promise<Pod>;
	/** Runs a program to its end and returns what it printed, which is kept in the suite's log as well. */
	run(file: string, args: readonly string[], options?: ProgramOptions): Promise<Ran>;
}

export interface ProgramOptions {
	readonly cwd?: string;
	readonly env?: Readonly<Record<string, string>>;
}

export interface Ran {
	readonly exitCode: number | undefined;
	readonly output: string;
}

/** Longer than any suite takes on two cores. */
const limitMs = 3 * 60 * 60_000;

interface StageOptions {
	readonly minio: Minio;
	readonly folder: string;
	readonly kept: string;
	readonly logFile: string;
	readonly signal: AbortSignal;
}

/** Opens a stage for one suite, and takes everything down afterwards, by force if need be. */
export async function onStage(
	{ minio, folder, kept, logFile, signal }: StageOptions,
	run: (stage: Stage) => Promise<Outcomes>,
): Promise<Outcomes> {
	const pods: Pod[] = [];
	const buckets = new Set<string>();
	const log = createWriteStream(logFile);
	await mkdir(folder, { recursive: true });
	try {
		return await run({
			minio,
			folder,
			kept,
			async mount(bucket, options = {}) {
				if (!buckets.has(bucket)) await minio.createBucket(bucket);
				buckets.add(bucket);
				const native = { title: "native", name: "native" } as const;
				const pod = new Pod(
					minioPod(minio, bucket, native, { accessModes: ["ReadWriteMany"], runtimeOptions: options }),
				);
				pods.push(pod);
				pod.start();
				await pod.untilReady();
				return pod;
			},
			async run(file, args, { cwd = folder, env = {} } = {}) {
				// A group of its own: whatever the suite has started ends with it.
				const child = execa(file, args, { cwd, env, all: true, reject: false, detached: true, stdin: "ignore" });
				const end = (): void => {
					try {
						if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
					} catch {
						// It has ended.
					}
				};
				const limit = AbortSignal.any([signal, AbortSignal.timeout(limitMs)]);
				limit.addEventListener("abort", end);
				child.all.pipe(log, { end: false });
				try {
					const { exitCode, all } = await child;
					limit.throwIfAborted();
					return { exitCode, output: all };
				} finally {
					limit.removeEventListener("abort", end);
					end();
				}
			},
		});
	} finally {
		for (const pod of pods.toReversed()) {
			log.write(`\nThe launcher's log:\n${pod.output}`);
			if (pod.launcher !== undefined) await pod.stop().catch(() => undefined);
			await pod.cleanup();
		}
		log.end();
		await finished(log);
	}
}

/** A new folder in a mount, so that no suite sees the root. */
export async function folderIn(pod: Pod, name: string): Promise<string> {
	const folder = join(pod.target, name);
	await mkdir(folder);
	return folder;
}
