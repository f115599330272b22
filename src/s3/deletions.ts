import { hash } from "node:crypto";
import { inParallel } from "../turns.ts";
import type { Ability } from "./abilities.ts";
import { checkKey, isKind, thousandKeysBytes } from "./answers.ts";
import type { Bucket } from "./bucket.ts";
import type { RequestHeaders } from "./call.ts";
import { parseDeleteAnswer } from "./delete-answer.ts";
import type { Heads } from "./heads.ts";
import type { Answer } from "./http/connection.ts";
import { S3Error, type ObjectStore } from "./object-store.ts";
import { printable } from "./printable.ts";
import { smallBody } from "./upload.ts";
import { kindOfCode } from "./verdict.ts";
import { deletionXml } from "./write-xml.ts";
import { isExpressible, rootName } from "./xml.ts";

export type KeyFailure = Awaited<ReturnType<ObjectStore["deleteMany"]>>[number];

/** How many keys at once where the server takes one a request. */
const deletesAtOnce = 16;
const keysPerDelete = 1000;

/** Objects that go. */
export class Deletions {
	readonly #bucket: Bucket;
	readonly #heads: Heads;

	constructor(bucket: Bucket, heads: Heads) {
		this.#bucket = bucket;
		this.#heads = heads;
	}

	/** With a version: only that one, where the server can tell. */
	async delete(key: string, { etag }: { readonly etag?: string | undefined } = {}): Promise<void> {
		checkKey(key);
		const isDirectory = isOfDirectory(key);
		const ability: Ability = isDirectory ? "conditional-deletes-of-directories" : "conditional-deletes";
		const compares = !this.#bucket.knowledge.lacks(ability);
		if (etag === undefined || (!compares && !isDirectory)) return this.#delete(key);
		const refusal = compares ? await this.#refusalOf(key, etag) : replaced(key);
		if (refusal === undefined) return;
		if (!(await this.#isStill(key, etag))) throw refusal;
		await this.#delete(key);
		this.#bucket.knowledge.concede(ability, refusal);
	}

	/** Why that version is not deleted: it is said to be another one. Undefined: it is. */
	async #refusalOf(key: string, etag: string): Promise<S3Error | undefined> {
		try {
			await this.#delete(key, etag);
			return undefined;
		} catch (error) {
			if (isKind(error, "OBJECT_REPLACED")) return error;
			throw error;
		}
	}

	/** Some servers list a version of directories' objects, and know of none when they are asked to compare it. */
	async #isStill(key: string, etag: string): Promise<boolean> {
		try {
			const found = await this.#heads.head(key);
			return found.etag === etag || (isOfDirectory(key) && found.etag === "" && found.sizeBytes === 0);
		} catch (error) {
			// Whoever cannot see it leaves it.
			if (error instanceof S3Error && error.kind !== "ABORTED") return false;
			throw error;
		}
	}

	async #delete(key: string, etag?: string): Promise<void> {
		const condition: RequestHeaders = etag === undefined ? {} : { "if-match": `"${etag}"` };
		await this.#bucket.knowledge.conceding(etag === undefined ? [] : ["conditional-deletes"], async (lacking) =>
			orGone(
				this.#bucket.client.call({
					operation: "DeleteObject",
					method: "DELETE",
					key,
					priority: "read",
					headers: () => (lacking.has("conditional-deletes") ? {} : condition),
					check: ({ body }) => (body.length === 0 ? undefined : "an answer that is not S3's"),
				}),
			),
		);
	}

	async deleteMany(
		keys: readonly string[],
		{ etags = new Map() }: { readonly etags?: ReadonlyMap<string, string> } = {},
	): Promise<KeyFailure[]> {
		if (keys.length > keysPerDelete) throw new S3Error("REFUSED", `more than ${keysPerDelete} keys at once`);
		for (const key of keys) checkKey(key);
		const canTogether = !this.#bucket.knowledge.lacks("multi-delete");
		const ordered = insideOut(keys);
		const comparesDirectories = !this.#bucket.knowledge.lacks("conditional-deletes-of-directories");
		const goesAlone = (key: string): boolean =>
			!canTogether || !isExpressible(key) || (!comparesDirectories && isOfDirectory(key) && etags.has(key));
		const together = ordered.filter((key) => !goesAlone(key));
		const alone = ordered.filter(goesAlone);
		return [...(await this.#deleteTogether(together, etags)), ...(await this.#deleteEach(alone, etags))];
	}

	async #deleteTogether(keys: readonly string[], etags: ReadonlyMap<string, string>): Promise<KeyFailure[]> {
		if (keys.length === 0) return [];
		let answer: Answer;
		try {
			answer = await this.#bucket.knowledge.conceding(
				etags.size === 0 ? [] : ["conditional-deletes"],
				async (lacking) =>
					this.#deleteObjects(deletionXml(keys, lacking.has("conditional-deletes") ? new Map() : etags)),
			);
		} catch (error) {
			if (!isKind(error, "UNSUPPORTED")) throw error;
			this.#bucket.knowledge.concede("multi-delete", error);
			return this.#deleteEach(keys, etags);
		}
		const asked = new Set(keys);
		const failures: KeyFailure[] = [];
		const again: string[] = [];
		for (const { key, code, message } of parseDeleteAnswer(answer.body.toString())) {
			const kind = code === "PreconditionFailed" ? "OBJECT_REPLACED" : kindOfCode(code);
			if (kind === "NOT_FOUND") continue;
			// One by one they are tried again for as long as anything is, and it is looked whether what is to have been replaced was. A server
			// may say a key in another way than it was told: that is nothing to delete.
			const isToTry = kind === "UNAVAILABLE" || kind === "THROTTLED" || kind === "OBJECT_REPLACED";
			if (isToTry && asked.has(key)) again.push(key);
			else {
				const text = `DeleteObjects ${printable(key, 300)}: ${printable(code, 64)} (${printable(message, 200)})`;
				failures.push({ key, error: new S3Error(kind, text, { status: answer.status, code }) });
			}
		}
		return [...failures, ...(await this.#deleteEach(again, etags))];
	}

	async #deleteObjects(bytes: Buffer): Promise<Answer> {
		return this.#bucket.client.call({
			operation: "DeleteObjects",
			maximumAnswerBytes: thousandKeysBytes,
			method: "POST",
			query: { delete: "" },
			priority: "read",
			...smallBody(bytes),
			// Of all servers: the only checksum that each of them knows.
			headers: () => ({ "content-type": "application/xml", "content-md5": hash("md5", bytes, "base64") }),
			check: ({ body }) => (rootName(body.toString()) === "DeleteResult" ? undefined : "an answer that is not S3's"),
		});
	}

	async #deleteEach(keys: readonly string[], etags: ReadonlyMap<string, string>): Promise<KeyFailure[]> {
		const failures: KeyFailure[] = [];
		const deleteOne = async (key: string): Promise<void> => {
			try {
				await this.delete(key, { etag: etags.get(key) });
			} catch (error) {
				if (!(error instanceof S3Error)) throw error;
				failures.push({ key, error });
			}
		};
		const { files, directories } = apart(keys);
		await inParallel(files, deletesAtOnce, deleteOne);
		// One after the other, when all that is in them is gone.
		await inParallel(directories, 1, deleteOne);
		return failures;
	}
}

export async function orGone(work: Promise<unknown>): Promise<void> {
	try {
		await work;
	} catch (error) {
		// Some servers say it of what is gone already, and what they do not keep is not there.
		if (!isKind(error, "NOT_FOUND") && !isKind(error, "NAME_TOO_LONG")) throw error;
	}
}

/** Some servers refuse to delete a directory's object before those of what is in it. */
function insideOut(keys: readonly string[]): string[] {
	const { files, directories } = apart(keys);
	return [...files, ...directories.toSorted((a, b) => b.length - a.length)];
}

function apart(keys: readonly string[]): { readonly files: string[]; readonly directories: string[] } {
	return { files: keys.filter((key) => !isOfDirectory(key)), directories: keys.filter(isOfDirectory) };
}

function isOfDirectory(key: string): boolean {
	return key.endsWith("/");
}

function replaced(key: string): S3Error {
	return new S3Error(
		"OBJECT_REPLACED",
		`DeleteObject ${printable(key, 300)}: it has content or attributes of somebody else by now`,
	);
}
