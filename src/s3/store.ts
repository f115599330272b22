import { createSecureContext, type SecureContext } from "node:tls";
import { crc32 } from "node:zlib";
import { Connection, type Answer, type Exchange, type Target } from "./connection.ts";
import { encodeStrictly } from "./location.ts";
import {
	S3Error,
	type CredentialsSource,
	type ListPage,
	type ListRequest,
	type ObjectHeaders,
	type ObjectMetadata,
	type ObjectStore,
	type ObjectStoreOptions,
	type PutOptions,
	type S3ErrorKind,
	type StaticCredentials,
	type UploadBody,
	type Uploaded,
	type UploadedPart,
} from "./object-store.ts";
import { parseServerError } from "./server-error.ts";
import { signedHeaders } from "./sign.ts";

interface Call {
	readonly operation: string;
	readonly method: string;
	readonly key?: string;
	readonly query?: Readonly<Record<string, string>>;
	readonly headers?: Readonly<Record<string, string>>;
	readonly body?: UploadBody;
	readonly into?: Exchange["into"];
	readonly onProgress?: (bytes: number) => void;
	readonly signal?: AbortSignal | undefined;
}

export function createObjectStore(options: ObjectStoreOptions): ObjectStore {
	return new Store(options);
}

class Store implements ObjectStore {
	listsMetadata = false;
	readonly #options: ObjectStoreOptions;
	readonly #base: URL;
	readonly #target: Target;
	#credentials: CredentialsSource;
	readonly #idle: Connection[] = [];
	#active = 0;
	readonly #waiting: (() => void)[] = [];
	readonly #all = new Set<Connection>();
	#closed = false;
	#isMinio = false;

	constructor(options: ObjectStoreOptions) {
		this.#options = options;
		this.#credentials = options.credentials;
		const region = options.region ?? "us-east-1";
		const endpoint = options.endpoint ?? new URL(`https://s3.${region}.amazonaws.com`);
		const base = new URL(endpoint.href);
		if (options.pathStyle) base.pathname = `${base.pathname.replace(/\/$/, "")}/${options.bucket}`;
		else base.hostname = `${options.bucket}.${base.hostname}`;
		this.#base = base;
		const secure = base.protocol === "https:";
		let context: SecureContext | undefined;
		if (options.ca !== undefined) context = createSecureContext({ ca: options.ca });
		this.#target = {
			host: base.hostname.replaceAll(/[[\]]/g, ""),
			port: Number(base.port || (secure ? 443 : 80)),
			secure,
			...(context !== undefined && { context }),
		};
	}

	async get(key: string, options: Parameters<ObjectStore["get"]>[1]): Promise<ObjectHeaders> {
		const { offset, into, etag, objectSizeBytes, signal, onProgress } = options;
		if (into.length === 0)
			return { sizeBytes: objectSizeBytes, modifiedMs: 0, etag, metadata: {}, contentType: undefined };
		let filled = 0;
		const whole = offset === 0 && into.length === objectSizeBytes;
		for (let attempt = 0; ; attempt++) {
			const start = filled;
			const target = into.subarray(start);
			const isWhole = whole && start === 0;
			try {
				const answer = await this.#call({
					operation: "GetObject",
					method: "GET",
					key,
					signal,
					headers: {
						"if-match": `"${etag}"`,
						...(isWhole
							? { "x-amz-checksum-mode": "ENABLED" }
							: { range: `bytes=${offset + start}-${offset + into.length - 1}` }),
					},
					into: ({ status }) => (status === (isWhole ? 200 : 206) ? target : undefined),
					onProgress: (bytes) => {
						filled = start + bytes;
						onProgress?.(filled);
					},
				});
				if (answer.filled !== target.length)
					throw new S3Error("UNAVAILABLE", "the server did not send the range that was asked for", {
						status: answer.status,
					});
				const headers = objectHeaders(answer, objectSizeBytes);
				if (headers.etag !== etag) throw new S3Error("OBJECT_REPLACED", `${key} was replaced`);
				const expected = answer.headers.get("x-amz-checksum-crc32");
				if (isWhole && expected !== undefined && !expected.includes("-") && expected !== crcBase64(crc32(into))) {
					if (attempt > 0)
						throw new S3Error("CHECKSUM_WRONG", `${key} arrived with other bytes than its checksum says`);
					filled = 0;
					continue;
				}
				return headers;
			} catch (error) {
				if (error instanceof S3Error && error.kind === "UNAVAILABLE" && filled > start && attempt < 10) continue;
				throw error;
			}
		}
	}

	async head(key: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<ObjectHeaders> {
		const answer = await this.#call({ operation: "HeadObject", method: "HEAD", key, signal });
		return objectHeaders(answer, Number(answer.headers.get("content-length") ?? 0));
	}

	async list({
		prefix,
		delimiter,
		startAfter,
		continuationToken,
		maxKeys = 1000,
		signal,
	}: ListRequest): Promise<ListPage> {
		const { body, headers } = await this.#call({
			operation: "ListObjectsV2",
			method: "GET",
			signal,
			query: {
				...(continuationToken !== undefined && { "continuation-token": continuationToken }),
				...(delimiter !== undefined && { delimiter }),
				"encoding-type": "url",
				"list-type": "2",
				"max-keys": String(maxKeys),
				...(this.#isMinio && { metadata: "true" }),
				prefix,
				...(startAfter !== undefined && { "start-after": startAfter }),
			},
		});
		const wasMinio = this.#isMinio;
		this.#isMinio = headers.get("server") === "MinIO";
		if (this.#isMinio && !wasMinio)
			return this.list({
				prefix,
				maxKeys,
				...(delimiter !== undefined && { delimiter }),
				...(startAfter !== undefined && { startAfter }),
				...(continuationToken !== undefined && { continuationToken }),
			});
		this.listsMetadata = this.#isMinio;
		return parseList(body.toString());
	}

	async put(
		key: string,
		body: UploadBody,
		{ metadata = {}, contentType, onlyIfAbsent }: PutOptions = {},
	): Promise<Uploaded> {
		const answer = await this.#call({
			operation: "PutObject",
			method: "PUT",
			key,
			body,
			headers: {
				...metaHeaders(metadata),
				...(contentType !== undefined && { "content-type": contentType }),
				...(onlyIfAbsent === true && { "if-none-match": "*" }),
			},
		});
		return { etag: unquote(answer.headers.get("etag")), modifiedMs: dateOf(answer) };
	}

	async delete(key: string): Promise<void> {
		await this.#call({ operation: "DeleteObject", method: "DELETE", key });
	}

	async deleteMany(keys: readonly string[]) {
		const failures: { key: string; error: S3Error }[] = [];
		await Promise.all(
			keys.map(async (key) =>
				this.delete(key).catch((error: unknown) => void failures.push({ key, error: error as S3Error })),
			),
		);
		return failures;
	}

	async copy(
		from: string,
		to: string,
		{ etag, metadata, onlyIfAbsent }: NonNullable<Parameters<ObjectStore["copy"]>[2]> = {},
	): Promise<Uploaded> {
		const answer = await this.#call({
			operation: "CopyObject",
			method: "PUT",
			key: to,
			headers: {
				"x-amz-copy-source": this.#source(from),
				...(etag !== undefined && { "x-amz-copy-source-if-match": `"${etag}"` }),
				...(metadata !== undefined && { "x-amz-metadata-directive": "REPLACE", ...metaHeaders(metadata) }),
				...(onlyIfAbsent === true && { "if-none-match": "*" }),
			},
		});
		const text = answer.body.toString();
		return {
			etag: unquote(element(text, "ETag")),
			modifiedMs: Date.parse(element(text, "LastModified") ?? "") || dateOf(answer),
		};
	}

	async createMultipart(key: string, metadata: ObjectMetadata): Promise<string> {
		const answer = await this.#call({
			operation: "CreateMultipartUpload",
			method: "POST",
			key,
			query: { uploads: "" },
			headers: { ...metaHeaders(metadata), "x-amz-checksum-algorithm": "CRC32" },
		});
		return element(answer.body.toString(), "UploadId") ?? "";
	}

	async uploadPart(key: string, uploadId: string, partNumber: number, body: UploadBody): Promise<UploadedPart> {
		const answer = await this.#call({
			operation: "UploadPart",
			method: "PUT",
			key,
			body,
			query: { partNumber: String(partNumber), uploadId },
		});
		return { partNumber, etag: unquote(answer.headers.get("etag")), crc32: answer.headers.get("x-amz-checksum-crc32") };
	}

	async copyPart(
		key: string,
		uploadId: string,
		partNumber: number,
		from: Parameters<ObjectStore["copyPart"]>[3],
	): Promise<UploadedPart> {
		const answer = await this.#call({
			operation: "UploadPartCopy",
			method: "PUT",
			key,
			query: { partNumber: String(partNumber), uploadId },
			headers: {
				"x-amz-copy-source": this.#source(from.key),
				"x-amz-copy-source-if-match": `"${from.etag}"`,
				"x-amz-copy-source-range": `bytes=${from.offset}-${from.offset + from.lengthBytes - 1}`,
			},
		});
		const text = answer.body.toString();
		return { partNumber, etag: unquote(element(text, "ETag")), crc32: element(text, "ChecksumCRC32") };
	}

	async completeMultipart(
		key: string,
		uploadId: string,
		parts: readonly UploadedPart[],
		{ onlyIfAbsent }: { readonly onlyIfAbsent?: boolean } = {},
	): Promise<Uploaded> {
		const xml = `<CompleteMultipartUpload>${parts.map(({ partNumber, etag, crc32: sum }) => `<Part><PartNumber>${partNumber}</PartNumber><ETag>"${etag}"</ETag>${sum === undefined ? "" : `<ChecksumCRC32>${sum}</ChecksumCRC32>`}</Part>`).join("")}</CompleteMultipartUpload>`;
		const answer = await this.#call({
			operation: "CompleteMultipartUpload",
			method: "POST",
			key,
			query: { uploadId },
			body: bodyOf(Buffer.from(xml)),
			headers: onlyIfAbsent === true ? { "if-none-match": "*" } : {},
		});
		return { etag: unquote(element(answer.body.toString(), "ETag")), modifiedMs: dateOf(answer) };
	}

	async abortMultipart(key: string, uploadId: string): Promise<void> {
		await this.#call({ operation: "AbortMultipartUpload", method: "DELETE", key, query: { uploadId } });
	}

	setCredentials(credentials: CredentialsSource): void {
		this.#credentials = credentials;
	}

	close(): void {
		this.#closed = true;
		for (const connection of this.#all) connection.close();
	}

	#source(key: string): string {
		return `/${this.#options.bucket}/${encodeKey(key)}`;
	}

	async #call(call: Call): Promise<Answer> {
		const deadline = performance.now() + (this.#options.retryForMs ?? 60_000);
		for (let attempt = 0; ; attempt++) {
			try {
				const answer = await this.#once(call);
				if (answer.status < 300 && !/^\s*(<\?xml[^>]*>\s*)?<Error>/.test(answer.body.subarray(0, 200).toString()))
					return answer;
				throw toError(call, answer);
			} catch (thrown) {
				const error = thrown instanceof S3Error ? thrown : networkError(call, thrown);
				const retry = error.kind === "THROTTLED" || error.kind === "UNAVAILABLE";
				const waitMs = Math.random() * Math.min(10_000, 100 * 2 ** attempt);
				// A get goes on where it stopped by itself.
				if (!retry || this.#closed || (call.into !== undefined && attempt > 5) || performance.now() + waitMs > deadline)
					throw error;
				await new Promise((resolve) => setTimeout(resolve, waitMs));
			}
		}
	}

	async #once({ method, key, query = {}, headers = {}, body, into, onProgress, signal }: Call): Promise<Answer> {
		const path = `${this.#base.pathname.replace(/\/$/, "")}/${key === undefined ? "" : encodeKey(key)}`;
		const search = Object.entries(query)
			.map(([name, value]) => `${encodeStrictly(name)}=${encodeStrictly(value)}`)
			.join("&");
		const url = new URL(this.#base.origin);
		const href = `${url.origin}${path}${search === "" ? "" : `?${search}`}`;
		const credentials: StaticCredentials | undefined =
			typeof this.#credentials === "function" ? await this.#credentials() : this.#credentials;
		const sum = body === undefined ? undefined : crcBase64(body.crc32 ?? (await crcOf(body)));
		const all: Record<string, string> = {
			...headers,
			...(sum !== undefined && call_isObject(query) && { "x-amz-checksum-crc32": sum }),
			host: this.#base.host,
		};
		const signed =
			credentials === undefined
				? all
				: signedHeaders(new URL(href), all, {
						method,
						region: this.#options.region ?? "us-east-1",
						credentials,
						now: new Date(),
						...(body !== undefined && { bodyHash: "UNSIGNED-PAYLOAD" }),
					});
		const lines = [
			`${method} ${path}${search === "" ? "" : `?${search}`} HTTP/1.1`,
			...Object.entries(signed).map(([name, value]) => `${name}: ${value}`),
			...(body !== undefined
				? [`content-length: ${body.sizeBytes}`]
				: method === "PUT" || method === "POST"
					? ["content-length: 0"]
					: []),
			"",
			"",
		];
		const connection = await this.#acquire(signal);
		try {
			return await connection.exchange({
				head: lines.join("\r\n"),
				signal,
				into: into ?? (() => undefined),
				noBody: method === "HEAD",
				firstByteMs: 30_000,
				idleMs: 20_000,
				...(body !== undefined && { body: body.read() }),
				...(onProgress !== undefined && { onProgress }),
			});
		} finally {
			this.#give(connection);
		}
	}

	async #acquire(_signal: AbortSignal | undefined): Promise<Connection> {
		if (this.#active >= (this.#options.maximumRequests ?? 32))
			await new Promise<void>((resolve) => this.#waiting.push(resolve));
		this.#active++;
		for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) if (idle.isUsable) return idle;
		try {
			const connection = await Connection.open(this.#target, 5000);
			this.#all.add(connection);
			return connection;
		} catch (error) {
			this.#release();
			throw error;
		}
	}

	#give(connection: Connection): void {
		if (connection.isUsable && !this.#closed) this.#idle.push(connection);
		else this.#all.delete(connection);
		this.#release();
	}

	#release(): void {
		this.#active--;
		this.#waiting.shift()?.();
	}
}

function call_isObject(query: Readonly<Record<string, string>>): boolean {
	return query["uploadId"] === undefined || query["partNumber"] !== undefined;
}

function encodeKey(key: string): string {
	return key.split("/").map(encodeStrictly).join("/");
}

function crcBase64(value: number): string {
	const bytes = Buffer.alloc(4);
	bytes.writeUInt32BE(value >>> 0);
	return bytes.toString("base64");
}

async function crcOf(body: UploadBody): Promise<number> {
	let sum = 0;
	for await (const piece of body.read()) sum = crc32(piece, sum);
	return sum;
}

function bodyOf(bytes: Buffer): UploadBody {
	return { sizeBytes: bytes.length, read: () => [bytes] };
}

function unquote(etag: string | undefined): string {
	return (etag ?? "").replaceAll(/^(?:"|&quot;|&#34;)|(?:"|&quot;|&#34;)$/g, "");
}

function dateOf({ headers }: Answer): number | undefined {
	const time = Date.parse(headers.get("date") ?? "");
	return Number.isNaN(time) ? undefined : time;
}

function metaHeaders(metadata: ObjectMetadata): Record<string, string> {
	return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [`x-amz-meta-${name}`, value]));
}

function objectHeaders({ headers }: Answer, sizeBytes: number): ObjectHeaders {
	const metadata: Record<string, string> = {};
	for (const [name, value] of headers) if (name.startsWith("x-amz-meta-")) metadata[name.slice(11)] = value;
	return {
		sizeBytes,
		modifiedMs: Date.parse(headers.get("last-modified") ?? "") || 0,
		etag: unquote(headers.get("etag")),
		metadata,
		contentType: headers.get("content-type"),
	};
}

function element(text: string, name: string): string | undefined {
	return new RegExp(`<${name}>([^<]*)</${name}>`).exec(text)?.[1];
}

function decode(text: string): string {
	return decodeURIComponent(text.replaceAll("+", " "));
}

function parseList(xml: string): ListPage {
	const objects = [...xml.matchAll(/<Contents>(.*?)<\/Contents>/gs)].map(([, text = ""]) => {
		const meta = /<UserMetadata>(.*?)<\/UserMetadata>/s.exec(text)?.[1];
		const metadata: Record<string, string> = {};
		if (meta !== undefined)
			for (const [, name = "", value = ""] of meta.matchAll(/<([^/>]+)>([^<]*)<\//g))
				if (/^x-amz-meta-/i.test(name)) metadata[name.slice(11).toLowerCase()] = value;
		return {
			key: decode(element(text, "Key") ?? ""),
			sizeBytes: Number(element(text, "Size")),
			modifiedMs: Date.parse(element(text, "LastModified") ?? ""),
			etag: unquote(element(text, "ETag")),
			...(/UserMetadata|StorageClass/.test(text) && { metadata }),
		};
	});
	const prefixes = [...xml.matchAll(/<CommonPrefixes><Prefix>([^<]*)</g)].map(([, text = ""]) => decode(text));
	return {
		objects,
		prefixes,
		nextToken: element(xml, "IsTruncated") === "true" ? element(xml, "NextContinuationToken") : undefined,
	};
}

const kinds: Readonly<Record<number, S3ErrorKind>> = {
	403: "DENIED",
	404: "NOT_FOUND",
	412: "OBJECT_REPLACED",
	429: "THROTTLED",
	500: "UNAVAILABLE",
	501: "UNSUPPORTED",
	502: "UNAVAILABLE",
	503: "THROTTLED",
	504: "UNAVAILABLE",
	507: "NO_SPACE",
};

function toError(call: Call, { status, body }: Answer): S3Error {
	const told = parseServerError(body.toString(), undefined);
	let kind = kinds[status] ?? "REFUSED";
	if (told?.code === "NoSuchBucket") kind = "NO_BUCKET";
	if (kind === "OBJECT_REPLACED" && call.headers?.["if-none-match"] !== undefined) kind = "EXISTS";
	return new S3Error(kind, `${call.operation} ${call.key ?? ""}: ${told?.code ?? status} ${told?.message ?? ""}`, {
		status,
		code: told?.code,
	});
}

function networkError(call: Call, thrown: unknown): S3Error {
	const { code, message } = thrown as NodeJS.ErrnoException;
	return new S3Error(code === "ABORTED" ? "ABORTED" : "UNAVAILABLE", `${call.operation}: ${message}`, {
		cause: thrown,
	});
}
