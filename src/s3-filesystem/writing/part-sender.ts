import type { ObjectStore } from "../../s3/object-store.ts";
import type { DraftContent } from "./draft-content.ts";
import type { DraftError } from "./draft-error.ts";
import { isOnlyUploaded, lost, type DraftPart } from "./draft-parts.ts";
import type { Description, DraftWatcher, KeptDraft, KeptUpload } from "./draft-options.ts";
import { DraftUpload, isUploadGone } from "./draft-upload.ts";
import type { Staging } from "./staging.ts";

/** Parts on their way to the server while the file is written, and the multipart upload that they go to. */
export class PartSender {
	readonly #content: DraftContent;
	readonly #store: ObjectStore;
	readonly #staging: Staging;
	readonly #key: () => string;
	readonly #describe: (isFinal: boolean) => Promise<Description>;
	readonly #watcher: DraftWatcher | undefined;
	#upload: DraftUpload | undefined;
	/** The part that was written last. */
	#activePart: number | undefined;
	/** Of a part that was sent while the file was written, until somebody is told. */
	#failure: { readonly error: unknown } | undefined;
	#isLost: DraftError | undefined;

	constructor(options: {
		readonly content: DraftContent;
		readonly store: ObjectStore;
		readonly staging: Staging;
		readonly key: () => string;
		readonly describe: (isFinal: boolean) => Promise<Description>;
		readonly watcher: DraftWatcher | undefined;
		readonly kept: KeptDraft | undefined;
	}) {
		this.#content = options.content;
		this.#store = options.store;
		this.#staging = options.staging;
		this.#key = options.key;
		this.#describe = options.describe;
		this.#watcher = options.watcher;
		if (options.kept !== undefined) this.#goOn(options.kept);
	}

	#goOn({ upload: kept, parts }: KeptDraft): void {
		if (kept === undefined) return;
		const { isFinal, key } = kept;
		const describe = async (): Promise<Description> => this.#describe(isFinal);
		const upload = new DraftUpload({ store: this.#store, key, describe, isFinal, kept });
		this.#upload = upload;
		for (const { index, uploaded } of parts) {
			const part = this.#content.parts.get(index);
			if (part === undefined || uploaded === undefined) continue;
			part.uploaded = { ...uploaded, to: upload };
			if (!part.staged.isEmpty) this.#staging.keep(part.staged, () => part.staged.remove());
		}
	}

	keep(): KeptUpload | undefined {
		return this.#upload?.keep();
	}

	/** Of the upload, if there is one. */
	get uploadKey(): string | undefined {
		return this.#upload?.key;
	}

	/** Throws when bytes that only the server had are lost. */
	check(): void {
		if (this.#isLost !== undefined) throw this.#isLost;
	}

	/** Throws what has gone wrong since somebody was told. */
	throwFailure(): void {
		const failure = this.#failure;
		this.#failure = undefined;
		if (failure !== undefined) throw failure.error;
	}

	forgetFailure(): void {
		this.#failure = undefined;
	}

	/** Another part is written now: sends the one before, if it was written from start to end and may be sent. */
	moveOn(index: number, maySend: () => boolean): void {
		if (this.#activePart === index) return;
		const left = this.#activePart === undefined ? undefined : this.#content.parts.get(this.#activePart);
		this.#activePart = index;
		if (left === undefined || !maySend()) return;
		if (isPending(left) && left.staged.inOrderBytes === this.#staging.grid.sizeOf(left.index)) this.#send(left);
	}

	/** Sends all full parts that only wait for it; false: there are none. */
	sendWhole(): boolean {
		let isSending = false;
		for (const part of this.#content.parts.all()) {
			if (!isPending(part) || !part.staged.has(0, this.#staging.grid.sizeOf(part.index))) continue;
			this.#send(part);
			isSending = true;
		}
		return isSending;
	}

	#send(part: DraftPart): void {
		part.uploading = this.#staging.freeing(this.#sendNow(part));
	}

	async #sendNow(part: DraftPart): Promise<void> {
		const sizeBytes = this.#staging.grid.sizeOf(part.index);
		try {
			this.#content.parts.setUploaded(part, await this.#sendToUpload(part, sizeBytes));
			// The first part stays while there is room: many formats fill in their header at the end.
			if (part.index === 0) this.#staging.keep(part.staged, () => part.staged.remove());
			else if (!part.isAwaited) part.staged.remove();
		} catch (error) {
			part.failure = { error };
			this.#staging.uploadFailed(this.#store, error);
			this.#failure ??= part.failure;
		} finally {
			part.uploading = undefined;
			part.isAwaited = false;
		}
	}

	/** When somebody else has ended the upload, another is begun: once, and if what the first one had is still here. */
	async #sendToUpload(part: DraftPart, sizeBytes: number): Promise<DraftPart["uploaded"]> {
		for (let timesGone = 0; ;) {
			const upload = this.openUpload(false);
			try {
				const sent = await this.#staging.uploads.take(async () => upload.send(part.index, part.staged.body(sizeBytes)));
				// Otherwise another part has found out meanwhile.
				if (this.#upload === upload) return { part: sent, sizeBytes, to: upload };
			} catch (error) {
				if (!isUploadGone(error)) throw error;
				this.forgetUpload(upload, error);
				if (this.#isLost === undefined && ++timesGone > 1) throw error;
			}
			this.check();
		}
	}

	/** Resolves when parts from there on that are on their way have ended. */
	async partsEnd(fromIndex = 0): Promise<void> {
		for (const part of this.#content.parts.all()) {
			if (part.uploading === undefined || part.index < fromIndex) continue;
			part.isAwaited = true;
			await part.uploading;
		}
	}

	/** What was sent of a part is not its content any more. False: it is only there, and has to be committed first. */
	reopen(part: DraftPart): boolean {
		if (part.uploaded === undefined) return true;
		if (isOnlyUploaded(part)) return false;
		this.#staging.unkeep(part.staged);
		this.#content.parts.setUploaded(part, undefined);
		return true;
	}

	/** The same for the file's last part, which a failed commit may have sent, when the file grows. */
	reopenEnd(sizeBytes: number): boolean {
		const { grid } = this.#staging;
		const presentBytes = this.#content.sizeBytes;
		if (presentBytes === 0 || sizeBytes <= presentBytes) return true;
		const last = this.#content.parts.get(grid.indexAt(presentBytes - 1));
		if (last?.uploaded === undefined || last.uploaded.sizeBytes === grid.sizeOf(last.index)) return true;
		return this.reopen(last);
	}

	/** The upload that parts go to; `isFinal`: all is written. */
	openUpload(isFinal: boolean): DraftUpload {
		const describe = async (): Promise<Description> => this.#describe(isFinal);
		const onCreated = (): void => {
			this.#watcher?.changed();
			this.#watcher?.flush();
		};
		this.#upload ??= new DraftUpload({ store: this.#store, key: this.#key(), describe, isFinal, onCreated });
		return this.#upload;
	}

	/** It has become an object. */
	uploadCompleted(): void {
		this.#upload = undefined;
		this.#watcher?.changed();
	}

	/** Somebody else ended our multipart upload: what is still staged is sent again. */
	forgetUpload(upload: DraftUpload, cause: unknown): void {
		// Another may have been begun by a part that has found out first.
		if (this.#upload === upload) this.#upload = undefined;
		this.#watcher?.changed();
		for (const part of this.#content.parts.all()) {
			if (part.uploaded?.to !== upload) continue;
			if (isOnlyUploaded(part)) this.#isLost ??= lost(cause);
			else this.reopen(part);
		}
	}

	async abortUpload(): Promise<void> {
		const upload = this.#upload;
		this.#upload = undefined;
		this.#watcher?.changed();
		try {
			await upload?.abort();
		} catch (error) {
			// It costs storage until the bucket's lifecycle rule ends it, and does no other harm.
			this.#staging.trouble(error, "could not abort a multipart upload");
		}
	}
}

/** Here, and neither sent nor on its way. */
function isPending({ staged, uploaded, uploading, failure }: DraftPart): boolean {
	return !staged.isEmpty && uploaded === undefined && uploading === undefined && failure === undefined;
}
