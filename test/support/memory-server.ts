import { createHash } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { buffer } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { listen } from "./listen.ts";

/** How a server lists, where servers differ. */
export interface ListingManners {
	/** Answers after so long. */
	readonly delayMs?: number;
	/**
	 * How a listing is gone on with: by a token that is a position, as Amazon does; by one of what was there at first, as MinIO does; without
	 * any, though it says that there is more; or by version 1 whatever it is asked for, as Ceph 12 does. Or not at all: it begins from its
	 * start again.
	 */
	readonly continues?: "position" | "snapshot" | "without-token" | "version-1" | "from-start";
	/** Of names on a page; default: as many as it is asked for. */
	readonly pageSize?: number;
	/** Changes the answer before it is sent. */
	readonly rewrite?: (xml: string) => string;
}

interface StoredObject {
	readonly body: Buffer;
	readonly etag: string;
	readonly modifiedMs: number;
	/** The type, and x-amz-meta-. */
	readonly headers: Readonly<Record<string, string>>;
}

/** An S3 server whose bucket is in this process: for as many names as MinIO would take minutes to be given, and for what MinIO never answers. */
export interface MemoryServer {
	readonly endpoint: string;
	/** Of the bucket, in the order of the keys. */
	readonly keys: readonly string[];
	/** Listings that were asked for. */
	readonly listings: number;
	/** Empty objects. */
	fill(keys: Iterable<string>): void;
	manners(manners: ListingManners): void;
	stop(): Promise<void>;
}

export const memoryServerKeys = { region: "us-east-1", accessKey: "access", secretKey: "secret-key" };

export async function startMemoryServer(): Promise<MemoryServer> {
	const bucket = new MemoryBucket();
	const server = http.createServer((request, response) => {
		answer(bucket, request, response).catch((error: unknown) => response.destroy(error as Error));
	});
	server.keepAliveTimeout = 60_000;
	const port = await listen(server);
	return {
		endpoint: `http://127.0.0.1:${port}`,
		get keys() {
			return bucket.keys;
		},
		get listings() {
			return bucket.listings;
		},
		fill: (keys) => bucket.fill(keys),
		manners(manners) {
			bucket.manners = manners;
		},
		async stop() {
			server.closeAllConnections();
			server.close();
			await once(server, "close");
		},
	};
}

const empty: StoredObject = {
	body: Buffer.alloc(0),
	etag: "d41d8cd98f00b204e9800998ecf8427e",
	modifiedMs: Date.parse("2026-01-01T00:00:00Z"),
	headers: {},
};

class MemoryBucket {
	/** Never changed: a listing may still go through an older one. */
	keys: readonly string[] = [];
	manners: ListingManners = {};
	listings = 0;
	readonly #objects = new Map<string, StoredObject>();
	readonly #snapshots: (readonly string[])[] = [];

	fill(keys: Iterable<string>): void {
		this.keys = [...new Set([...this.keys, ...keys])].toSorted(byBytes);
	}

	get(key: string): StoredObject | undefined {
		return this.#objects.get(key) ?? (this.keys[positionOf(this.keys, key)] === key ? empty : undefined);
	}

	put(key: string, object: StoredObject): void {
		this.#objects.set(key, object);
		const position = positionOf(this.keys, key);
		if (this.keys[position] !== key) this.keys = this.keys.toSpliced(position, 0, key);
	}

	delete(key: string): void {
		this.#objects.delete(key);
		const position = positionOf(this.keys, key);
		if (this.keys[position] === key) this.keys = this.keys.toSpliced(position, 1);
	}

	list(query: URLSearchParams): string {
		this.listings++;
		const { continues = "position", pageSize = 1000, rewrite = (xml) => xml } = this.manners;
		const [prefix, delimiter] = [query.get("prefix") ?? "", query.get("delimiter") ?? ""];
		const isVersion1 = continues === "version-1";
		let after = continues === "from-start" ? "" : (query.get(isVersion1 ? "marker" : "start-after") ?? "");
		let keys = this.keys;
		const token = query.get("continuation-token");
		if (token !== null && !isVersion1) {
			const [snapshot = "", position = ""] = token.split(/ (.*)/s);
			after = position;
			keys = this.#snapshots[Number(snapshot)] ?? keys;
		}
		const limit = Math.min(Number(query.get("max-keys") ?? 1000), pageSize);
		const found: string[] = [];
		let isTruncated = false;
		let last = "";
		for (let at = positionOf(keys, after > prefix ? after : prefix); at < keys.length; at++) {
			const key = keys[at] ?? "";
			if (!key.startsWith(prefix)) break;
			if (after !== "" && byBytes(key, after) <= 0) continue;
			if (found.length === limit) {
				isTruncated = true;
				break;
			}
			const end = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
			if (end === -1) {
				last = key;
				found.push(`<Contents>${objectXml(key, this.get(key) ?? empty)}</Contents>`);
				continue;
			}
			const group = key.slice(0, end + 1);
			last = `${group}\u{10FFFF}`;
			at = positionOf(keys, last) - 1;
			found.push(`<CommonPrefixes><Prefix>${encode(group)}</Prefix></CommonPrefixes>`);
		}
		const next = `${continues === "snapshot" ? this.#keep(keys) : ""} ${last}`;
		const more =
			!isTruncated || (continues !== "position" && continues !== "snapshot")
				? ""
				: `<NextContinuationToken>${escape(next)}</NextContinuationToken>`;
		return rewrite(
			`<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>${encode(prefix)}</Prefix>` +
				(isVersion1 ? "<Marker></Marker>" : `<KeyCount>${found.length}</KeyCount>`) +
				`<MaxKeys>${limit}</MaxKeys><EncodingType>url</EncodingType><IsTruncated>${isTruncated}</IsTruncated>${more}${found.join("")}</ListBucketResult>`,
		);
	}

	#keep(keys: readonly string[]): number {
		const known = this.#snapshots.indexOf(keys);
		return known === -1 ? this.#snapshots.push(keys) - 1 : known;
	}
}

async function answer(
	bucket: MemoryBucket,
	request: http.IncomingMessage,
	response: http.ServerResponse,
): Promise<void> {
	const { pathname, searchParams } = new URL(request.url ?? "", "http://server");
	const key = decodeURIComponent(pathname.split("/").slice(2).join("/"));
	const { method = "" } = request;
	const body = await buffer(request);
	const xml = (text: string, status = 200): void =>
		void response.writeHead(status, { "content-type": "application/xml" }).end(text);
	if (key === "" && method === "GET") {
		const { delayMs = 0 } = bucket.manners;
		if (delayMs > 0) await delay(delayMs);
		xml(bucket.list(searchParams));
	} else if (key === "" && method === "POST") {
		for (const [, deleted = ""] of body.toString().matchAll(/<Key>([^<]*)<\/Key>/g)) bucket.delete(unescape(deleted));
		xml("<DeleteResult></DeleteResult>");
	} else if (method === "DELETE") {
		bucket.delete(key);
		response.writeHead(204).end();
	} else if (method === "PUT") {
		const source = request.headers["x-amz-copy-source"];
		const from =
			typeof source === "string"
				? bucket.get(
						decodeURIComponent(
							source
								.split("/")
								.slice(source.startsWith("/") ? 2 : 1)
								.join("/"),
						),
					)
				: undefined;
		const stored = from?.body ?? body;
		const isReplaced = from === undefined || request.headers["x-amz-metadata-directive"] === "REPLACE";
		const headers = isReplaced ? ownHeaders(request.headers) : from.headers;
		const etag = createHash("md5").update(stored).update(JSON.stringify(headers)).digest("hex");
		bucket.put(key, { body: stored, etag, modifiedMs: Date.now(), headers });
		if (source === undefined) response.writeHead(200, { etag: `"${etag}"` }).end();
		else xml(`<CopyObjectResult><ETag>"${etag}"</ETag></CopyObjectResult>`);
	} else {
		sendObject(bucket.get(key), request, response);
	}
}

function sendObject(
	object: StoredObject | undefined,
	{ method, headers }: http.IncomingMessage,
	response: http.ServerResponse,
): void {
	if (object === undefined) {
		const text = "<Error><Code>NoSuchKey</Code></Error>";
		response.writeHead(404, { "content-type": "application/xml" }).end(method === "HEAD" ? undefined : text);
		return;
	}
	const [, first = "0", last = String(object.body.length - 1)] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "") ?? [];
	const part = object.body.subarray(Number(first), Number(last) + 1);
	const isPart = headers.range !== undefined;
	response.writeHead(isPart ? 206 : 200, {
		...object.headers,
		"content-length": part.length,
		"last-modified": new Date(object.modifiedMs).toUTCString(),
		etag: `"${object.etag}"`,
		...(isPart && { "content-range": `bytes ${first}-${last}/${object.body.length}` }),
	});
	response.end(method === "HEAD" ? undefined : part);
}

function ownHeaders(headers: http.IncomingHttpHeaders): Record<string, string> {
	return Object.fromEntries(
		Object.entries(headers).filter(
			(header): header is [string, string] =>
				typeof header[1] === "string" && (header[0] === "content-type" || header[0].startsWith("x-amz-meta-")),
		),
	);
}

function objectXml(key: string, { body, etag, modifiedMs }: StoredObject): string {
	return `<Key>${encode(key)}</Key><LastModified>${new Date(modifiedMs).toISOString()}</LastModified><ETag>&quot;${etag}&quot;</ETag><Size>${body.length}</Size><StorageClass>STANDARD</StorageClass>`;
}

function encode(text: string): string {
	return encodeURIComponent(text).replaceAll("%2F", "/");
}

function escape(text: string): string {
	return text.replaceAll(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);
}

function unescape(text: string): string {
	return text.replaceAll(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)));
}

/** The order of S3: that of UTF-8. */
function byBytes(a: string, b: string): number {
	if (isAscii(a) && isAscii(b)) return a < b ? -1 : a > b ? 1 : 0;
	return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function isAscii(text: string): boolean {
	return /^[\0-\u007f]*$/.test(text);
}

/** Of the first key that is not before that one. */
function positionOf(keys: readonly string[], key: string): number {
	let low = 0;
	let high = keys.length;
	while (low < high) {
		const middle = (low + high) >>> 1;
		if (byBytes(keys[middle] ?? "", key) < 0) low = middle + 1;
		else high = middle;
	}
	return low;
}
