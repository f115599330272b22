import { Doubt } from "../../s3/doubt.ts";
import { isReplacedOrGone, type ObjectMetadata, type UploadedPart } from "../../s3/object-store.ts";
import { deleteVersion } from "./delete-version.ts";
import { putWhole, uploadMissingParts, type StillDraft } from "./commit-steps.ts";
import type { DraftContent } from "./draft-content.ts";
import type { Committed, Committing, Description, DraftOptions } from "./draft-options.ts";
import { isOnlyUploaded } from "./draft-parts.ts";
import { isUploadGone } from "./draft-upload.ts";
import type { PartSender } from "./part-sender.ts";

/** Makes the content of a draft that nobody changes meanwhile the object: with one request, or by completing its multipart upload. */
export class DraftCommit {
	readonly #options: DraftOptions;
	readonly #content: DraftContent;
	readonly #sender: PartSender;
	readonly #onAdopted: () => void;
	#onlyIfAbsent: boolean;
	#committing: Committing | undefined;
	/** What the commits since the last that succeeded may have stored after all. */
	#doubt = new Doubt();

	/** `onAdopted` is told when nothing is staged any more. */
	constructor(options: DraftOptions, content: DraftContent, sender: PartSender, onAdopted: () => void) {
		this.#options = options;
		this.#content = content;
		this.#sender = sender;
		this.#onAdopted = onAdopted;
		this.#onlyIfAbsent = options.onlyIfAbsent ?? false;
		this.#committing = options.kept?.committing;
		// An answer that a process has not lived to hear is one that was lost.
		if (this.#committing !== undefined) this.#doubt.begin(Date.now() - this.#committing.sinceMs);
	}

	get onlyIfAbsent(): boolean {
		return this.#onlyIfAbsent;
	}

	/** The object may be there by now, though nobody has heard so. */
	get committing(): Committing | undefined {
		return this.#committing;
	}

	#begins(parts?: readonly UploadedPart[]): void {
		this.#committing = { sinceMs: this.#committing?.sinceMs ?? Date.now(), ...(parts !== undefined && { parts }) };
		this.#options.watcher?.changed();
		this.#options.watcher?.flush();
	}

	/** When it throws, everything is still there for the next attempt. */
	async commit(): Promise<Committed> {
		return (await this.#fitsOneRequest()) ? this.#put() : this.#completeUpload();
	}

	async #fitsOneRequest(): Promise<boolean> {
		if (this.#content.sizeBytes > this.#options.staging.grid.sizeOf(0)) return false;
		await this.#sender.partsEnd();
		return ![...this.#content.parts.all()].some(isOnlyUploaded);
	}

	async #put(): Promise<Committed> {
		const { store } = this.#options;
		const key = this.#options.key();
		// What the object has beside its bytes is asked for while those are brought that are not here.
		const described = describe(this.#options, true);
		described.catch(() => undefined);
		const { etag, modifiedMs } = await putWhole(this.#still(), async (body) => {
			const description = await described;
			this.#begins();
			return store.put(key, body, {
				...description,
				...(this.#onlyIfAbsent && { onlyIfAbsent: true }),
				doubt: this.#doubt,
			});
		});
		const description = await described;
		const committed = { key, etag, sizeBytes: this.#content.sizeBytes, modifiedMs, ...description };
		await this.stored(committed);
		return committed;
	}

	/** The server has it as this version. */
	async stored(committed: Committed): Promise<void> {
		this.#adopt(committed);
		this.#options.onCommit?.(committed);
		// What was cut off had been sent.
		await this.#sender.abortUpload();
	}

	async #completeUpload(): Promise<Committed> {
		const { store } = this.#options;
		for (let attempt = 1; ; attempt++) {
			const upload = this.#sender.openUpload(true);
			const { takesGaps } = store;
			try {
				// What a process has died of hearing is asked for as it was: an upload that was completed takes no part any more.
				const parts = this.#committing?.parts ?? (await uploadMissingParts(this.#still(), upload));
				this.#begins(parts);
				const isMoved = upload.key !== this.#options.key();
				const { sizeBytes } = this.#content;
				const { etag, modifiedMs } = await upload.complete(parts, {
					onlyIfAbsent: this.#onlyIfAbsent || isMoved,
					doubt: this.#doubt,
					sizeBytes,
				});
				this.#sender.uploadCompleted();
				const { key, description } = upload;
				const committed = { key, etag, sizeBytes, modifiedMs, ...description };
				this.#adopt(committed);
				return await this.#bringUpToDate(committed, upload.isFinal);
			} catch (error) {
				if (this.#committing !== undefined) this.#begins();
				// Each part number is wanted, as has turned out just now.
				if (takesGaps && !store.takesGaps) continue;
				if (!isUploadGone(error)) throw error;
				this.#sender.forgetUpload(upload, error);
				this.#sender.check();
				if (attempt > 1) throw error;
			}
		}
	}

	/** Key and metadata of an upload are those of its beginning: the server copies the object if they are others by now. */
	async #bringUpToDate(committed: Committed & Description, isFinal: boolean): Promise<Committed> {
		const { store } = this.#options;
		const key = this.#options.key();
		const isMoved = key !== committed.key;
		let present = committed;
		try {
			if (isMoved || !isSameMetadata(this.#options.metadata(isFinal), committed.metadata)) {
				const metadata = this.#options.metadata(true);
				const { etag, sizeBytes, properties } = committed;
				const { modifiedMs, ...copied } = await store.copy(committed.key, key, {
					etag,
					sizeBytes,
					metadata,
					properties,
				});
				present = { key, etag: copied.etag, sizeBytes, modifiedMs, metadata, properties };
				this.#adopt(present);
				if (isMoved) await deleteVersion(store, committed.key, etag);
			}
		} catch (error) {
			// Stored it was, and somebody else has replaced or removed it since.
			if (!isMoved && isReplacedOrGone(error)) return present;
			// The next commit makes another object of this one.
			this.#content.outdate();
			throw error;
		} finally {
			this.#options.onCommit?.(present);
		}
		return present;
	}

	#adopt(committed: Committed): void {
		const { store, tails } = this.#options;
		const tail = tails === undefined ? undefined : this.#content.takeTail();
		this.#onlyIfAbsent = false;
		this.#committing = undefined;
		this.#content.adopt(committed);
		// After that: what it may drop is not needed any more by then.
		if (tail !== undefined) tails?.keep({ server: store, version: committed, ...tail });
		this.#doubt = new Doubt();
		this.#onAdopted();
	}

	#still(): StillDraft {
		const { store, staging } = this.#options;
		const { parts, sizeBytes, base, baseBytes } = this.#content;
		return { store, staging, parts, sizeBytes, base, baseBytes };
	}
}

/** What an object of the draft has beside its bytes at this moment. */
export async function describe({ properties, metadata }: DraftOptions, isFinal: boolean): Promise<Description> {
	return { properties: (await properties?.()) ?? { headers: {} }, metadata: metadata(isFinal) };
}

export function isSameMetadata(a: ObjectMetadata, b: ObjectMetadata): boolean {
	const names = Object.keys(a);
	return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}
