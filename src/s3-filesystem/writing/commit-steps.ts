import type { ByteRange } from "../../bytes.ts";
import {
	S3Error,
	type ObjectStore,
	type ObjectVersion,
	type UploadBody,
	type Uploaded,
	type UploadedPart,
} from "../../s3/object-store.ts";
import { planCommit, withoutCopy, withoutJoins, type CommitStep } from "./commit-plan.ts";
import { DraftError } from "./draft-error.ts";
import type { DraftPart, DraftParts } from "./draft-parts.ts";
import type { DraftUpload } from "./draft-upload.ts";
import { zeroBody } from "./staged-part.ts";
import type { Staging } from "./staging.ts";
import { inParallel } from "../../turns.ts";

/** A draft that does not change while it becomes an object. */
export interface StillDraft {
	readonly store: ObjectStore;
	readonly staging: Staging;
	readonly parts: DraftParts;
	readonly sizeBytes: number;
	readonly base: ObjectVersion | undefined;
	/** As far as the object's content is the file's, where nothing was changed. */
	readonly baseBytes: number;
}

/** At most so much is asked for at once to complete a part. */
const fillBytes = 4 * 1024 ** 2;

/** Uploads and copies what the multipart upload does not have yet, and returns all its parts in order. */
export async function uploadMissingParts(draft: StillDraft, upload: DraftUpload): Promise<UploadedPart[]> {
	const { staging, parts } = draft;
	const plan = planCommit({
		grid: staging.grid,
		sizeBytes: draft.sizeBytes,
		baseBytes: draft.baseBytes,
		stateOf(index) {
			const part = parts.get(index);
			if (part === undefined || (part.uploaded === undefined && part.staged.isEmpty)) return undefined;
			return { uploadedBytes: part.uploaded?.sizeBytes };
		},
	});
	const done: UploadedPart[] = [];
	const carryOut = async (step: CommitStep): Promise<void> => {
		switch (step.kind) {
			case "keep": {
				const part = parts.get(step.index)?.uploaded?.part;
				if (part !== undefined) done.push(part);
				return;
			}
			case "upload":
				done.push(await uploadStep(draft, upload, step.index, step.sizeBytes));
				return;
			case "copy": {
				const part = await copyStep(draft, upload, step);
				if (part !== undefined) {
					done.push(part);
					return;
				}
				for (const single of withoutCopy(staging.grid, step)) await carryOut(single);
				return;
			}
			default:
				step satisfies never;
		}
	};
	const steps = plan.flatMap((step) => {
		if (step.kind !== "copy" || (upload.canCopy && draft.store.takesGaps)) return [step];
		return upload.canCopy ? withoutJoins(staging.grid, step) : withoutCopy(staging.grid, step);
	});
	await inParallel(steps, staging.maximumUploads, carryOut);
	return done.toSorted((a, b) => a.partNumber - b.partNumber);
}

/** Uploads the content, which is at most one part, as the body of one request. */
export async function putWhole(draft: StillDraft, put: (body: UploadBody) => Promise<Uploaded>): Promise<Uploaded> {
	const { parts, sizeBytes } = draft;
	if (sizeBytes === 0) return put(zeroBody(0));
	const part = parts.getOrAdd(0);
	return completed(draft, part, sizeBytes, async () => put(bodyOf(part, sizeBytes)));
}

async function uploadStep(
	draft: StillDraft,
	upload: DraftUpload,
	index: number,
	sizeBytes: number,
): Promise<UploadedPart> {
	const { parts, staging } = draft;
	const part = parts.getOrAdd(index);
	if (part.uploading !== undefined) {
		// It was on its way already when the commit began. If that has just failed, the time for tries is over.
		await part.uploading;
		if (part.failure !== undefined) throw part.failure.error;
	}
	if (part.uploaded?.sizeBytes === sizeBytes) return part.uploaded.part;
	return completed(draft, part, sizeBytes, async () => {
		const uploaded = await staging.uploads.take(async () => upload.send(index, bodyOf(part, sizeBytes)));
		parts.setUploaded(part, { part: uploaded, sizeBytes, to: upload });
		part.failure = undefined;
		// It stays for whoever reads or changes it, until the commit is done or somebody needs the room.
		if (!part.staged.isEmpty) staging.keep(part.staged, () => part.staged.remove());
		return uploaded;
	});
}

/** Undefined: the server cannot. */
async function copyStep(
	draft: StillDraft,
	upload: DraftUpload,
	step: CommitStep & { readonly kind: "copy" },
): Promise<UploadedPart | undefined> {
	const { base, staging } = draft;
	if (base === undefined || !upload.canCopy) return undefined;
	try {
		return await staging.uploads.take(async () => upload.copy(step.index, base, step.offset, step.sizeBytes));
	} catch (error) {
		if (!(error instanceof S3Error && error.kind === "UNSUPPORTED")) throw error;
		upload.canCopy = false;
		return undefined;
	}
}

/** Stages what is missing of the part's first bytes and the object has, and then sends it. */
async function completed<T>(draft: StillDraft, part: DraftPart, sizeBytes: number, send: () => Promise<T>): Promise<T> {
	const { staging, baseBytes } = draft;
	const start = staging.grid.startOf(part.index);
	const gaps = part.staged.gaps(0, Math.min(sizeBytes, Math.max(0, baseBytes - start)));
	if (gaps.length === 0) return send();
	const costBytes = gaps.reduce((sum, gap) => sum + part.staged.cost(gap.start, gap.end), 0);
	if (await staging.reserveSoon(costBytes)) {
		await fill(draft, part, gaps, costBytes);
		return send();
	}
	return staging.overdraft.take(async () => {
		// The one before may have left room meanwhile.
		if (!(await staging.reserveSoon(costBytes))) staging.reserveBeyondLimit(costBytes);
		try {
			await fill(draft, part, gaps, costBytes);
			const sent = await send();
			if (part.uploaded !== undefined) part.staged.remove();
			return sent;
		} catch (error) {
			// The next one must not come on top of it.
			part.staged.forget(gaps);
			throw error;
		}
	});
}

async function fill(
	draft: StillDraft,
	part: DraftPart,
	gaps: readonly ByteRange[],
	reservedBytes: number,
): Promise<void> {
	const { store, base, staging } = draft;
	if (base === undefined) throw new Error("nothing to complete a part with");
	const start = staging.grid.startOf(part.index);
	let leftBytes = reservedBytes;
	try {
		for (const pieces of windows(gaps, fillBytes)) {
			const from = pieces[0]?.start ?? 0;
			const to = pieces.at(-1)?.end ?? 0;
			await staging.fills.take(async () => {
				const into = Buffer.allocUnsafeSlow(to - from);
				await store.get(base.key, { offset: start + from, into, etag: base.etag, objectSizeBytes: base.sizeBytes });
				for (const piece of pieces) {
					leftBytes -= part.staged.cost(piece.start, piece.end);
					const written = part.staged.write(piece.start, into.subarray(piece.start - from, piece.end - from));
					if (written < piece.end - piece.start)
						throw staging.diskIsFull(new DraftError("NO_SPACE", "the staging directory is full"));
				}
			});
		}
	} finally {
		staging.release(leftBytes);
	}
}

/** Joins neighbouring ranges, and cuts long ones, into groups that each reach over no more than so many bytes. */
function windows(ranges: readonly ByteRange[], limitBytes: number): ByteRange[][] {
	const groups: ByteRange[][] = [];
	let groupStart = -Infinity;
	for (const range of ranges) {
		for (let { start } = range; start < range.end;) {
			if (start >= groupStart + limitBytes) {
				groups.push([]);
				groupStart = start;
			}
			const end = Math.min(range.end, groupStart + limitBytes);
			groups.at(-1)?.push({ start, end });
			start = end;
		}
	}
	return groups;
}

function bodyOf({ staged }: DraftPart, sizeBytes: number): UploadBody {
	return staged.isEmpty ? zeroBody(sizeBytes) : staged.body(sizeBytes);
}
