/**
 * Child: an S3 server that costs next to nothing, so that the filesystem is what runs out. It has files of random bytes, and what is
 * written it counts and forgets. Started by data-path.ts; prints its port.
 */
import { randomBytes } from "node:crypto";
import net from "node:net";
import tls from "node:tls";
import { listen } from "../test/support/listen.ts";
import { mebibyte } from "./workloads/workload.ts";

export interface CostlessBucket {
	readonly name: string;
	/** Named file-0, file-1 and so on. */
	readonly files: number;
	readonly fileBytes: number;
	readonly tls?: { readonly key: string; readonly cert: string };
}

interface Request {
	readonly method: string;
	readonly url: URL;
	readonly headers: ReadonlyMap<string, string>;
	readonly bodyBytes: number;
}

const bucket = JSON.parse(process.argv[2] ?? "") as CostlessBucket;
/** Every file is this again and again; twice, so that no answer has a seam within so much. */
const patternBytes = 16 * mebibyte;
const content = Buffer.alloc(2 * patternBytes);
randomBytes(patternBytes).copy(content);
content.copyWithin(patternBytes, 0, patternBytes);
const objects = new Map(Array.from({ length: bucket.files }, (_, index) => [`file-${index}`, bucket.fileBytes]));
/** By key: of multipart uploads, what has arrived. */
const uploads = new Map<string, number>();
const modified = new Date();

function parse(head: string): Request {
	const [first = "", ...lines] = head.split("\r\n");
	const [method = "", target = ""] = first.split(" ");
	const headers = new Map(
		lines.map((line): [string, string] => {
			const colon = line.indexOf(":");
			return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
		}),
	);
	return {
		method,
		url: new URL(target, "http://server"),
		headers,
		bodyBytes: Number(headers.get("content-length") ?? 0),
	};
}

function reply(
	socket: net.Socket,
	status: string,
	body = "",
	headers: Readonly<Record<string, string | number>> = {},
): void {
	const all = { "content-length": Buffer.byteLength(body), ...headers };
	const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
	socket.write(`HTTP/1.1 ${status}\r\n${lines.join("")}\r\n${body}`);
}

function listing(prefix: string): string {
	const entries = [...objects]
		.filter(([key]) => key.startsWith(prefix))
		.map(
			([key, sizeBytes]) =>
				`<Contents><Key>${key}</Key><LastModified>${modified.toISOString()}</LastModified><ETag>"etag"</ETag><Size>${sizeBytes}</Size></Contents>`,
		);
	return `<ListBucketResult><Name>${bucket.name}</Name><IsTruncated>false</IsTruncated>${entries.join("")}</ListBucketResult>`;
}

function answer(socket: net.Socket, { method, url, headers, bodyBytes }: Request): void {
	const key = url.pathname.slice(bucket.name.length + 2);
	const query = url.searchParams;
	const sizeBytes = objects.get(key);
	const etag = { etag: '"etag"' };
	if (method === "PUT") {
		if (query.has("uploadId")) uploads.set(key, (uploads.get(key) ?? 0) + bodyBytes);
		else objects.set(key, bodyBytes);
		reply(socket, "200 OK", "", etag);
	} else if (method === "POST" && query.has("uploads")) {
		const result = `<Bucket>${bucket.name}</Bucket><Key>${key}</Key><UploadId>upload</UploadId>`;
		reply(socket, "200 OK", `<InitiateMultipartUploadResult>${result}</InitiateMultipartUploadResult>`);
	} else if (method === "POST" && query.has("uploadId")) {
		objects.set(key, uploads.get(key) ?? 0);
		uploads.delete(key);
		reply(socket, "200 OK", `<CompleteMultipartUploadResult><ETag>"etag"</ETag></CompleteMultipartUploadResult>`);
	} else if (method === "DELETE") {
		objects.delete(key);
		reply(socket, "204 No Content");
	} else if (key === "") {
		reply(socket, "200 OK", method === "HEAD" ? "" : listing(query.get("prefix") ?? ""));
	} else if (sizeBytes === undefined) {
		reply(socket, "404 Not Found", method === "HEAD" ? "" : "<Error><Code>NoSuchKey</Code></Error>");
	} else {
		const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.get("range") ?? "") ?? [];
		const start = Number(first ?? 0);
		const end = Math.min(sizeBytes, Number(last ?? sizeBytes - 1) + 1);
		const range = first === undefined ? {} : { "content-range": `bytes ${start}-${end - 1}/${sizeBytes}` };
		const about = { ...etag, "last-modified": modified.toUTCString(), "content-length": end - start, ...range };
		reply(socket, first === undefined ? "200 OK" : "206 Partial Content", "", about);
		if (method === "HEAD") return;
		for (let at = start; at < end;) {
			const lengthBytes = Math.min(end - at, patternBytes);
			socket.write(content.subarray(at % patternBytes, (at % patternBytes) + lengthBytes));
			at += lengthBytes;
		}
	}
}

function serve(socket: net.Socket): void {
	let head = "";
	let request: Request | undefined;
	let leftBytes = 0;
	socket.setNoDelay(true);
	socket.on("error", () => socket.destroy());
	socket.on("data", (bytes: Buffer) => {
		let rest = bytes;
		while (rest.length > 0 || request !== undefined) {
			if (request === undefined) {
				head += rest.toString("latin1");
				const end = head.indexOf("\r\n\r\n");
				if (end === -1) return;
				rest = Buffer.from(head.slice(end + 4), "latin1");
				request = parse(head.slice(0, end));
				head = "";
				leftBytes = request.bodyBytes;
				if (request.headers.has("expect")) socket.write("HTTP/1.1 100 Continue\r\n\r\n");
			}
			const takenBytes = Math.min(leftBytes, rest.length);
			leftBytes -= takenBytes;
			rest = rest.subarray(takenBytes);
			if (leftBytes > 0) return;
			answer(socket, request);
			request = undefined;
		}
	});
}

const server = bucket.tls === undefined ? net.createServer(serve) : tls.createServer(bucket.tls, serve);
// It ends with whoever has started it.
process.stdin.on("end", () => process.exit()).resume();
process.stdout.write(`${await listen(server)}\n`);
