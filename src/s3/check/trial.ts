import { randomUUID } from "node:crypto";
import { mebibyte } from "../../bytes.ts";
import { LauncherError, type ErrorCode } from "../../errors.ts";
import {
	S3Error,
	type ListedObject,
	type ObjectStore,
	type ObjectVersion,
	type UploadBody,
	type UploadedPart,
} from "../object-store.ts";
import { printable } from "../printable.ts";
import { failed, passed, skipped, type Step } from "./step.ts";
import { rate, speedOf, streams, type Read } from "./speed.ts";

/** What the trial has to work with. */
export interface Trial {
	readonly store: ObjectStore;
	/** `""`, or a prefix that ends in `/`. */
	readonly prefix: string;
	readonly signal: AbortSignal;
}

const rangeBytes = 64 * 1024;

const [readingSpeed, writingSpeed] = ["reads", "writes"];

/** Reads a range from the middle of an object that is there, and tells how fast it comes, if that is not learnt by writing one. */
export async function tryReading(
	{ store, prefix, signal }: Trial,
	{ measures }: { readonly measures: boolean },
): Promise<Step[]> {
	let objects: readonly ListedObject[];
	try {
		({ objects } = await store.list({ prefix, metadata: false, signal }));
	} catch (error) {
		return [failedIn("read", error, "s3:ListBucket")];
	}
	// Of the first thousand.
	const [largest] = objects.toSorted((a, b) => b.sizeBytes - a.sizeBytes);
	if (largest === undefined || largest.sizeBytes === 0) return [skipped("read", "there is no object with content")];
	const read = await step("read", "s3:GetObject", async () => {
		const lengthBytes = Math.min(rangeBytes, largest.sizeBytes);
		const offset = Math.floor((largest.sizeBytes - lengthBytes) / 2);
		await store.get(largest.key, { ...whole(largest), offset, into: Buffer.alloc(lengthBytes), signal });
		return `${lengthBytes} bytes of ${printable(largest.key, 100)}`;
	});
	if (!measures) return [read];
	if (read.outcome === "failed") return [read, skipped(readingSpeed, "not tried")];
	if (largest.sizeBytes < mebibyte)
		return [read, skipped(readingSpeed, "there is no object of 1 MiB or more: with --write one is made")];
	return [read, await measureReading(store, largest, signal)];
}

async function measureReading(store: ObjectStore, object: ObjectVersion, signal: AbortSignal): Promise<Step> {
	const read: Read = async (offset, into) => store.get(object.key, { ...whole(object), offset, into, signal });
	return step(readingSpeed, "s3:GetObject", async () => speedOf(object.sizeBytes, read));
}

function whole({ etag, sizeBytes }: ObjectVersion) {
	return { etag, objectSizeBytes: sizeBytes };
}

/** What S3 takes as a part, but for the last one. */
const partBytes = 5 * mebibyte;

/** Makes objects of its own, does with them what a filesystem does, and takes them away again, whatever happened. */
export async function tryWriting(trial: Trial): Promise<Step[]> {
	const { store, prefix, signal } = trial;
	const name = `${prefix}.fluid-fuse-check-${randomUUID()}`;
	const [small, copied, renamed, large] = [name, `${name}-copy`, `${name}-renamed`, `${name}-parts`];
	const content = Buffer.from(`${firstWords} at ${new Date().toISOString()}\n`);
	const metadata = { "fluid-fuse-check": "1" };
	const steps: Step[] = [];
	let etag = "";
	/** Says whether to go on. */
	const run = async (title: string, permission: string, work: () => Promise<string>): Promise<boolean> => {
		signal.throwIfAborted();
		const last = await step(title, permission, work);
		steps.push(last);
		return last.outcome !== "failed";
	};
	const all = ["create", "copy", "rename", "parts", writingSpeed, readingSpeed];
	try {
		const works =
			(await run("create", "s3:PutObject", async () => {
				({ etag } = await store.put(small, bodyOf(content), { metadata, onlyIfAbsent: true }));
				const into = Buffer.alloc(content.length);
				await store.get(small, { offset: 0, into, etag, objectSizeBytes: content.length, signal });
				if (!into.equals(content)) throw damaged("what was read is not what was written");
				await requireMetadata(store, small, metadata);
				return `${content.length} bytes, and read again`;
			})) &&
			(await run("copy", "s3:PutObject", async () => {
				await store.copy(small, copied, { etag, sizeBytes: content.length });
				await requireMetadata(store, copied, metadata);
				return "by the server, with its metadata";
			})) &&
			(await run("rename", "s3:DeleteObject", async () => {
				await store.copy(copied, renamed, { sizeBytes: content.length });
				await store.delete(copied);
				await requireAbsent(store, copied);
				return "a copy, and the old name deleted";
			}));
		if (works) steps.push(...(await tryParts(trial, large, { key: small, etag, sizeBytes: content.length })));
		for (const title of all.slice(steps.length)) steps.push(skipped(title, "not tried"));
	} finally {
		steps.push(await removal(store, [small, copied, renamed, large]));
	}
	return steps;
}

/** A file that leaves in parts, of which the last one is copied: how large files are written and changed. */
async function tryParts({ store, signal }: Trial, key: string, last: ObjectVersion): Promise<Step[]> {
	const sizeBytes = (streams + 1) * partBytes + last.sizeBytes;
	let uploadId: string | undefined;
	let etag = "";
	let written = skipped(writingSpeed, "not tried");
	try {
		const parts = await step("parts", "s3:PutObject", async () => {
			const upload = (uploadId = await store.createMultipart(key, {}));
			const body = bodyOf(Buffer.alloc(partBytes, "fluid-fuse check "));
			const send = async (number: number): Promise<UploadedPart> => store.uploadPart(key, upload, number, body);
			const oneAt = performance.now();
			const uploaded = [await send(1)];
			signal.throwIfAborted();
			const manyAt = performance.now();
			uploaded.push(...(await Promise.all(Array.from({ length: streams }, async (_, index) => send(index + 2)))));
			const endAt = performance.now();
			const [one, many] = [rate(partBytes, manyAt - oneAt), rate(streams * partBytes, endAt - manyAt)];
			written = passed(writingSpeed, `one stream ${one}, ${streams} streams ${many}`, endAt - oneAt);
			signal.throwIfAborted();
			const from = { key: last.key, etag: last.etag, offset: 0, lengthBytes: last.sizeBytes };
			uploaded.push(await store.copyPart(key, upload, streams + 2, from));
			({ etag } = await store.completeMultipart(key, upload, uploaded, { sizeBytes }));
			uploadId = undefined;
			const into = Buffer.alloc(last.sizeBytes);
			await store.get(key, { offset: sizeBytes - into.length, into, etag, objectSizeBytes: sizeBytes, signal });
			if (!into.toString().startsWith(firstWords)) throw damaged("the last part is not what was copied");
			return `${streams + 1} of ${partBytes / mebibyte} MiB and one that the server copies`;
		});
		if (parts.outcome === "failed") return [parts, written];
		return [parts, written, await measureReading(store, { key, etag, sizeBytes }, signal)];
	} finally {
		// A failed upload would be paid for, and never seen. What cannot be ended has failed before.
		if (uploadId !== undefined) await store.abortMultipart(key, uploadId).catch(() => undefined);
	}
}

const firstWords = "written by fluid-fuse check";

async function requireMetadata(
	store: ObjectStore,
	key: string,
	wanted: Readonly<Record<string, string>>,
): Promise<void> {
	const { metadata } = await store.head(key);
	const lost = Object.keys(wanted).filter((name) => metadata[name] !== wanted[name]);
	if (lost.length > 0) throw damaged(`the object has lost its metadata (${lost.join(", ")})`);
}

async function requireAbsent(store: ObjectStore, key: string): Promise<void> {
	try {
		await store.head(key);
	} catch (error) {
		if (error instanceof S3Error && error.kind === "NOT_FOUND") return;
		throw error;
	}
	throw damaged("what was deleted is still there");
}

function damaged(problem: string): LauncherError {
	return new LauncherError("BACKEND_FAILING", problem, {
		hint: "Do not use this server for writing before that is mended.",
	});
}

async function removal(store: ObjectStore, keys: readonly string[]): Promise<Step> {
	return step("delete", "s3:DeleteObject", async () => {
		const left = await store.deleteMany(keys);
		const [first] = left;
		if (first !== undefined) {
			const names = left.map(({ key }) => printable(key, 200)).join(", ");
			throw new LauncherError("ACCESS_DENIED", `cannot be deleted: ${names} (${first.error.message})`, {
				hint: "Delete these objects by hand, and allow the key s3:DeleteObject.",
			});
		}
		return "nothing of it is left";
	});
}

function bodyOf(bytes: Buffer): UploadBody {
	return { sizeBytes: bytes.length, read: () => [bytes] };
}

/** Does it, and says how that went and how long it took. A bug is thrown on. */
async function step(name: string, permission: string, work: () => Promise<string>): Promise<Step> {
	const startedAt = performance.now();
	try {
		return passed(name, await work(), performance.now() - startedAt);
	} catch (error) {
		return failedIn(name, error, permission, performance.now() - startedAt);
	}
}

function failedIn(name: string, thrown: unknown, permission: string, ms?: number): Step {
	if (thrown instanceof LauncherError) return failed(name, thrown, ms);
	// Of a check that is given up, too.
	if (!(thrown instanceof S3Error) || thrown.kind === "ABORTED") throw thrown;
	const { kind, message } = thrown;
	return failed(name, new LauncherError(codeOf(thrown), message, { hint: hintFor(kind, permission) }), ms);
}

function codeOf({ kind, status }: S3Error): ErrorCode {
	if (kind === "DENIED") return "ACCESS_DENIED";
	if (kind === "NO_BUCKET") return "BUCKET_MISSING";
	return kind === "UNAVAILABLE" && status === 0 ? "BACKEND_TIMEOUT" : "BACKEND_FAILING";
}

function hintFor(kind: S3Error["kind"], permission: string): string {
	if (kind === "DENIED")
		return `Allow the key ${permission} on the objects of the bucket: docs/install.md lists what it needs.`;
	return hints.get(kind) ?? "Look at the server's own health and logs.";
}

const hints: ReadonlyMap<S3Error["kind"], string> = new Map([
	["NO_SPACE", "Make room on the server, or raise the bucket's quota."],
	["UNSUPPORTED", "The server cannot do this: docs/servers.md says what depends on it."],
]);
