/** Child: work on the files of a mount by plain system calls. Started by on-mount.ts with the request as its argument. */
import { once } from "node:events";
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { filesFolder } from "./workloads/small-files.ts";
import { keyOf, orderOf, sourceOffset, type FilesJob, type Job } from "./workloads/workload.ts";
import { whenTold } from "./when-told.ts";

export interface LoadRequest {
	readonly job: Job;
	/** The mount's root. */
	readonly root: string;
	/** Folder for new files, relative to the root. */
	readonly newFolder: string;
	readonly source: string;
	readonly sourceBytes: number;
}

/** Fills the buffer; a filesystem may give less than it was asked for. */
function readFully(file: number, into: Uint8Array, position: number): void {
	for (let filled = 0; filled < into.length;) {
		const length = readSync(file, into, filled, into.length - filled, position + filled);
		if (length === 0) throw new Error(`the file ended ${into.length - filled} bytes too early`);
		filled += length;
	}
}

function writeFully(file: number, from: Uint8Array): void {
	for (let written = 0; written < from.length;) written += writeSync(file, from, written);
}

/** Every `lanes`-th file, beginning with the lane's own. */
function handleFiles(job: FilesJob, request: LoadRequest, lane: number): void {
	const { root, source, sourceBytes, newFolder } = request;
	const { blockBytes = job.sizeBytes } = job;
	const sourceFile = openSync(source, "r");
	const content = Buffer.alloc(job.sizeBytes);
	const expected = Buffer.alloc(Math.min(4096, job.sizeBytes));
	const folder = job.kind === "read-files" ? filesFolder(job.sizeBytes) : newFolder;
	for (const [place, index] of orderOf(job).entries()) {
		if (place % job.lanes !== lane) continue;
		const path = join(root, keyOf({ folder, count: job.count, sizeBytes: job.sizeBytes }, index));
		const offset = sourceOffset(index, job.sizeBytes, sourceBytes);
		if (job.kind === "read-files") {
			const file = openSync(path, "r");
			for (let position = 0; position < job.sizeBytes; position += blockBytes)
				readFully(file, content.subarray(position, position + blockBytes), position);
			closeSync(file);
			readFully(sourceFile, expected, offset);
			if (!content.subarray(0, expected.length).equals(expected)) throw new Error(`${path} has other content`);
		} else {
			readFully(sourceFile, content, offset);
			const file = openSync(path, "wx");
			writeFully(file, content);
			closeSync(file);
		}
	}
	closeSync(sourceFile);
}

async function run(request: LoadRequest): Promise<void> {
	const { job, root } = request;
	switch (job.kind) {
		case "read-files":
		case "write-files": {
			if (job.lanes === 1) return whenTold(() => handleFiles(job, request, 0));
			const gate = new Int32Array(new SharedArrayBuffer(4));
			const workers = Array.from({ length: job.lanes }, (_, lane) => {
				const worker = new Worker(new URL(import.meta.url), { workerData: { request, lane, gate } });
				const ended = Promise.withResolvers<void>();
				worker.on("error", ended.reject);
				worker.on("exit", () => ended.resolve());
				return { ready: once(worker, "message"), ended: ended.promise };
			});
			await Promise.all(workers.map(async ({ ready }) => ready));
			return whenTold(async () => {
				Atomics.store(gate, 0, 1);
				Atomics.notify(gate, 0);
				await Promise.all(workers.map(async ({ ended }) => ended));
			});
		}
		case "random-read": {
			const read = Buffer.alloc(job.offsets.length * job.lengthBytes);
			const piece = (index: number) => read.subarray(index * job.lengthBytes, (index + 1) * job.lengthBytes);
			await whenTold(() => {
				const file = openSync(join(root, job.path), "r");
				job.offsets.forEach((offset, index) => readFully(file, piece(index), offset));
				closeSync(file);
			});
			const sourceFile = openSync(request.source, "r");
			const expected = Buffer.alloc(job.lengthBytes);
			job.offsets.forEach((offset, index) => {
				readFully(sourceFile, expected, offset);
				if (!piece(index).equals(expected)) throw new Error(`other content at ${offset}`);
			});
			return undefined;
		}
		case "first-byte":
			return whenTold(() => {
				const file = openSync(join(root, job.path), "r");
				readFully(file, Buffer.alloc(1), 0);
				closeSync(file);
			});
		case "append":
			return whenTold(() => {
				const sourceFile = openSync(request.source, "r");
				const content = Buffer.alloc(job.sizeBytes);
				for (let index = 0; index < job.count; index++) {
					readFully(sourceFile, content, sourceOffset(index, job.sizeBytes, request.sourceBytes));
					const file = openSync(join(root, request.newFolder, "00000"), "a");
					writeFully(file, content);
					closeSync(file);
				}
				closeSync(sourceFile);
			});
		case "stream-read":
		case "stream-write":
		case "list":
		case "remove":
			throw new Error(`${job.kind} is the work of another program`);
		default:
			return job satisfies never;
	}
}

if (isMainThread) {
	await run(JSON.parse(process.argv[2] ?? "") as LoadRequest);
} else {
	const { request, lane, gate } = workerData as { request: LoadRequest; lane: number; gate: Int32Array };
	// oxlint-disable-next-line unicorn/require-post-message-target-origin -- this is no window
	parentPort?.postMessage("ready");
	Atomics.wait(gate, 0, 0);
	handleFiles(request.job as FilesJob, request, lane);
}
