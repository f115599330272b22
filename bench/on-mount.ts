import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { startChild } from "./child.ts";
import type { LoadRequest } from "./load.ts";

/** What surrounds the measured part of a job. */
export interface Stage {
	readonly signal: AbortSignal;
	/** Folder for output, not on the mount. */
	readonly scratch: string;
	/** Everything is prepared: caches are dropped, then what needs warming is warmed. */
	dropCaches(): void;
	/** From here on it counts. */
	begin(): void;
}

const coreutils = { PATH: process.env["PATH"] ?? "", LC_ALL: "C" };

/**
 * Does the job on a mount with coreutils or a child of our own, and returns its seconds. This process itself never touches the
 * mount: it could not be ended while a call hangs.
 */
export async function runOnMount(request: LoadRequest, stage: Stage): Promise<number> {
	const { job, root, newFolder, source } = request;
	const { signal } = stage;
	const settings = { env: coreutils, extendEnv: false, cancelSignal: signal, killSignal: "SIGKILL" } as const;
	if (job.kind === "stream-write" || job.kind === "write-files" || job.kind === "append")
		await execa("mkdir", [join(root, newFolder)], settings);
	switch (job.kind) {
		case "stream-read":
		case "stream-write": {
			const copies =
				job.kind === "stream-read"
					? job.paths.map((path) => ({ from: join(root, path), to: "/dev/null" }))
					: [{ from: source, to: join(root, newFolder, "file") }];
			stage.dropCaches();
			// So that the program itself does not have to come from the disk.
			await execa("dd", ["if=/dev/zero", "of=/dev/null", "bs=1M", "count=1"], settings);
			stage.begin();
			const startedAt = performance.now();
			const ended = await Promise.all(
				copies.map(async ({ from, to }) => execa("dd", [`if=${from}`, `of=${to}`, "bs=1M"], settings)),
			);
			const seconds = (performance.now() - startedAt) / 1000;
			for (const { stderr } of ended) {
				const copied = Number(/^(\d+) bytes/m.exec(stderr)?.[1]);
				if (copied !== job.sizeBytes) throw new Error(`dd copied ${copied} bytes of ${job.sizeBytes}`);
			}
			return seconds;
		}
		case "list": {
			const output = join(stage.scratch, "listing");
			const program = job.tool === "ls" ? "ls -l" : "find";
			// The shell only opens the file and becomes the program: nobody reads a pipe meanwhile.
			const print = (folder: string) => execa("sh", ["-c", `exec ${program} "$0" > "$1"`, folder, output], settings);
			stage.dropCaches();
			await print(stage.scratch);
			stage.begin();
			const startedAt = performance.now();
			await print(join(root, job.objects.folder));
			const seconds = (performance.now() - startedAt) / 1000;
			const lines = (await readFile(output, "utf8")).split("\n").length - 1;
			// ls prints the sum first, find the folder and its subfolders.
			const expected = job.objects.count + 1 + (job.objects.subfolders ?? 0);
			if (lines !== expected) throw new Error(`${job.tool} printed ${lines} lines, expected ${expected}`);
			return seconds;
		}
		case "remove": {
			stage.dropCaches();
			await execa("rm", ["-rf", join(stage.scratch, "absent")], settings);
			stage.begin();
			const startedAt = performance.now();
			await execa("rm", ["-rf", join(root, newFolder)], settings);
			return (performance.now() - startedAt) / 1000;
		}
		case "read-files":
		case "write-files":
		case "append":
		case "random-read":
		case "first-byte": {
			const child = await startChild(new URL("load.ts", import.meta.url), request, { signal });
			stage.dropCaches();
			stage.begin();
			const seconds = await child.go();
			await child.end();
			return seconds;
		}
		default:
			return job satisfies never;
	}
}
