/** Child: the same work as the mounts', by requests to the bucket with no filesystem. Started by drivers.ts. */
import { closeSync, openSync, readSync } from "node:fs";
import type { ListedObject, ObjectStore } from "../src/s3/object-store.ts";
import { pagesOf } from "../src/s3/pages-of.ts";
import { createObjectStore } from "../src/s3/store.ts";
import { filesFolder } from "./workloads/small-files.ts";
import { keyOf, mebibyte, orderOf, sourceOffset, type FilesJob, type ObjectSet } from "./workloads/workload.ts";
import type { LoadRequest } from "./load.ts";
import { whenTold } from "./when-told.ts";

const partBytes = 8 * mebibyte;
/** Parts of one stream, or of several together, under way at a time. More did not help on two cores. */
const partsInFlight = 4;

interface Piece {
	readonly key: string;
	readonly etag: string;
	readonly objectSizeBytes: number;
	readonly offset: number;
	readonly lengthBytes: number;
}

/** So many at a time, in order. */
async function inLanes<T>(items: readonly T[], lanes: number, work: (item: T, lane: number) => Promise<void>) {
	let next = 0;
	await Promise.all(
		Array.from({ length: lanes }, async (_, lane) => {
			for (let item = items[next++]; item !== undefined; item = items[next++]) await work(item, lane);
		}),
	);
}

function partsOf(sizeBytes: number): { number: number; offset: number; lengthBytes: number }[] {
	return Array.from({ length: Math.ceil(sizeBytes / partBytes) }, (_, index) => ({
		number: index + 1,
		offset: index * partBytes,
		lengthBytes: Math.min(partBytes, sizeBytes - index * partBytes),
	}));
}

async function streamRead(store: ObjectStore, paths: readonly string[], sizeBytes: number): Promise<void> {
	const buffers = Array.from({ length: partsInFlight }, () => Buffer.alloc(partBytes));
	const pieces: Piece[] = [];
	for (const key of paths) {
		const { etag } = await store.head(key);
		for (const { offset, lengthBytes } of partsOf(sizeBytes))
			pieces.push({ key, etag, objectSizeBytes: sizeBytes, offset, lengthBytes });
	}
	await inLanes(pieces, partsInFlight, async ({ key, offset, lengthBytes, ...object }, lane) => {
		const into = buffers[lane]?.subarray(0, lengthBytes) ?? Buffer.alloc(lengthBytes);
		await store.get(key, { ...object, offset, into });
	});
}

async function streamWrite(store: ObjectStore, key: string, sizeBytes: number, source: string): Promise<void> {
	const buffers = Array.from({ length: partsInFlight }, () => Buffer.alloc(partBytes));
	const file = openSync(source, "r");
	const uploadId = await store.createMultipart(key, {});
	const parts = partsOf(sizeBytes);
	const uploaded: Awaited<ReturnType<ObjectStore["uploadPart"]>>[] = [];
	await inLanes(parts, partsInFlight, async ({ number, offset, lengthBytes }, lane) => {
		const content = buffers[lane]?.subarray(0, lengthBytes) ?? Buffer.alloc(lengthBytes);
		readSync(file, content, 0, lengthBytes, offset);
		uploaded[number - 1] = await store.uploadPart(key, uploadId, number, {
			sizeBytes: lengthBytes,
			read: () => [content],
		});
	});
	await store.completeMultipart(key, uploadId, uploaded);
	closeSync(file);
}

async function list(store: ObjectStore, prefix: string): Promise<ListedObject[]> {
	const listed: ListedObject[] = [];
	for await (const { objects } of pagesOf(store, { prefix })) listed.push(...objects);
	return listed;
}

/** Subfolders at the same time: pages of one listing can only follow each other. */
async function listAll(store: ObjectStore, { folder, count, subfolders }: ObjectSet): Promise<void> {
	let listed = 0;
	const prefix = `${folder}/`;
	const prefixes = subfolders === undefined ? [prefix] : (await store.list({ prefix, delimiter: "/" })).prefixes;
	await inLanes(prefixes, 8, async (each) => {
		const { length } = await list(store, each);
		listed += length;
	});
	if (listed !== count) throw new Error(`${listed} objects listed`);
}

/** Versions and sizes come from a listing, as a filesystem would get them. */
async function readFiles(store: ObjectStore, job: FilesJob): Promise<void> {
	const objects = await list(store, `${filesFolder(job.sizeBytes)}/`);
	if (objects.length !== job.count) throw new Error(`${objects.length} objects listed`);
	const inOrder = orderOf(job).flatMap((index) => objects[index] ?? []);
	await inLanes(inOrder, job.lanes, async ({ key, sizeBytes, etag }) => {
		await store.get(key, { offset: 0, into: Buffer.allocUnsafe(sizeBytes), etag, objectSizeBytes: sizeBytes });
	});
}

async function writeFiles(store: ObjectStore, job: FilesJob, request: LoadRequest): Promise<void> {
	const file = openSync(request.source, "r");
	const { count, sizeBytes } = job;
	await inLanes([...Array(count).keys()], job.lanes, async (index) => {
		const content = Buffer.allocUnsafe(sizeBytes);
		readSync(file, content, 0, sizeBytes, sourceOffset(index, sizeBytes, request.sourceBytes));
		await store.put(keyOf({ folder: request.newFolder, count, sizeBytes }, index), {
			sizeBytes,
			read: () => [content],
		});
	});
	closeSync(file);
}

async function work(store: ObjectStore, request: LoadRequest): Promise<void> {
	const { job } = request;
	switch (job.kind) {
		case "stream-read":
			return streamRead(store, job.paths, job.sizeBytes);
		case "stream-write":
			return streamWrite(store, `${request.newFolder}/file`, job.sizeBytes, request.source);
		case "read-files":
			return readFiles(store, job);
		case "write-files":
			return writeFiles(store, job, request);
		case "random-read": {
			const { etag } = await store.head(job.path);
			const into = Buffer.alloc(job.lengthBytes);
			for (const offset of job.offsets)
				await store.get(job.path, { offset, into, etag, objectSizeBytes: job.fileSizeBytes });
			return undefined;
		}
		case "first-byte": {
			const { etag } = await store.head(job.path);
			await store.get(job.path, { offset: 0, into: Buffer.alloc(1), etag, objectSizeBytes: job.fileSizeBytes });
			return undefined;
		}
		case "append":
			throw new Error("S3 knows no append");
		case "remove": {
			const objects = await list(store, `${request.newFolder}/`);
			for (let from = 0; from < objects.length; from += 1000)
				await store.deleteMany(objects.slice(from, from + 1000).map(({ key }) => key));
			return undefined;
		}
		case "list":
			return listAll(store, job.objects);
		default:
			return job satisfies never;
	}
}

const { request, store: options } = JSON.parse(process.argv[2] ?? "") as {
	request: LoadRequest;
	store: { endpoint: string; bucket: string; region: string };
};
const store = createObjectStore({
	endpoint: new URL(options.endpoint),
	region: options.region,
	bucket: options.bucket,
	pathStyle: true,
	credentials: {
		accessKeyId: process.env["AWS_ACCESS_KEY_ID"] ?? "",
		secretAccessKey: process.env["AWS_SECRET_ACCESS_KEY"] ?? "",
	},
});
await whenTold(async () => work(store, request));
store.close();
