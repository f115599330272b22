import { createSecureContext, rootCertificates } from "node:tls";
import { describe, expect, test } from "vitest";
import { reconcile } from "../src/mounts/reconcile.ts";
import { layersAt, parseMountinfo, type MountEntry } from "../src/mounts/mountinfo.ts";
import { parseMountOptions } from "../src/config/option-layers.ts";
import { claimed } from "../src/config/persistent-volume.ts";
import { secretReference } from "../src/config/secrets.ts";
import { readS3Volume } from "../src/drivers/csi/read-volume.ts";
import { LineSplitter } from "../src/drivers/lines.ts";
import { parseS3Source } from "../src/drivers/s3-source.ts";
import { sizes } from "../src/fuse/abi.ts";
import { Request } from "../src/fuse/decode.ts";
import { didYouMean, shown, withoutPassword } from "../src/options/faults.ts";
import { isOwnHost } from "../src/probe/own-host.ts";
import { parseListenAddress } from "../src/probe/listen-address.ts";
import { objectHeaders } from "../src/s3/object-headers.ts";
import { parseDeleteAnswer } from "../src/s3/delete-answer.ts";
import { ChunkedDecoder } from "../src/s3/http/chunked-decoder.ts";
import { GrowingBuffer } from "../src/s3/http/growing-buffer.ts";
import { proxyFor } from "../src/s3/http/proxy.ts";
import { parseResponseHead } from "../src/s3/http/response-head.ts";
import { parseListAnswer, withoutQuotes } from "../src/s3/list-answer.ts";
import { tokenAfterLast } from "../src/s3/list-position.ts";
import { listUrl } from "../src/s3/location.ts";
import { printable } from "../src/s3/printable.ts";
import { parseServerError } from "../src/s3/server-error.ts";
import { tagsHeader } from "../src/s3/tags.ts";
import { decodeEntities, elementText, rootName } from "../src/s3/xml.ts";
import { readPage } from "../src/s3-filesystem/names/listing.ts";
import { parseMetadata } from "../src/s3-filesystem/names/posix-metadata.ts";
import { createRedactor } from "../src/secrets/redact.ts";
import { Secret } from "../src/secrets/secret.ts";
import { fileWith, planOf } from "./config/planning.ts";

/**
 * Whatever a stranger writes is read in a time that grows with its length and not with the square of it: else one line of a server, a
 * config or a program keeps a process that serves others from answering.
 */

/** Makes the input, of about so many characters, and returns what reads it. */
type Case = (length: number) => () => unknown;

const repeated =
	(parse: (text: string) => unknown, piece: string, before = "", after = ""): Case =>
	(length) => {
		const text = before + piece.repeat(Math.ceil(length / piece.length)) + after;
		return () => parse(text);
	};

const list = (piece: string, after = ""): Case =>
	repeated(parseListAnswer, piece, "<ListBucketResult>", `${after}</ListBucketResult>`);
const head = (piece: string, after = ""): Case =>
	repeated(tried(parseResponseHead), piece, "HTTP/1.1 200 OK\r\n", after);
const serverError = (piece: string, before = "<Error>"): Case =>
	repeated((text) => parseServerError(text, undefined), piece, before);

/** That it is refused is an answer too. */
function tried(parse: (text: string) => unknown): (text: string) => unknown {
	return (text) => {
		try {
			return parse(text);
		} catch (error) {
			return error;
		}
	};
}

function decoded(text: string, pieceBytes: number): unknown {
	let bytes = 0;
	const decoder = new ChunkedDecoder((chunk) => {
		bytes += chunk.length;
	});
	const all = Buffer.from(text, "latin1");
	for (let start = 0; start < all.length && !decoder.isDone; start += pieceBytes)
		decoder.push(all.subarray(start, start + pieceBytes));
	return bytes;
}

function lines(text: string, pieceBytes: number): unknown {
	let count = 0;
	const onLine = (): void => void count++;
	const splitter = new LineSplitter({ maximumBytes: 8192, linesPerSecond: 1e9, onLine, onDropped: () => undefined });
	const all = Buffer.from(text);
	for (let start = 0; start < all.length; start += pieceBytes) splitter.push(all.subarray(start, start + pieceBytes));
	splitter.end();
	return count;
}

function mountEntries(count: number, entry: (index: number) => Partial<MountEntry>): MountEntry[] {
	const root = { id: 1, parentId: 0, device: "0:1", root: "/", mountPoint: "/", shared: false, type: "ext4" };
	const first: MountEntry = { ...root, source: "disk", readOnly: false };
	return [first, ...Array.from({ length: count }, (_, index) => ({ ...first, id: index + 2, ...entry(index) }))];
}

function volume(options: string, mountOption: string) {
	const attributes = { bucket: "bucket", options };
	return readS3Volume({ driver: "ru.yandex.s3.csi", handle: "bucket", attributes, mountOptions: [mountOption] });
}

const noProxy = (piece: string, after = ""): Case =>
	repeated(
		(text) => proxyFor(new URL("http://host.example:80"), { http_proxy: "http://p", no_proxy: text }),
		piece,
		"",
		after,
	);

const location = { bucket: "b", prefix: "p/", region: "us-east-1", pathStyle: true, credentials: undefined };

const cases: Readonly<Record<string, Readonly<Record<string, Case>>>> = {
	"a list": {
		"of objects": list("<Contents><Key>a</Key><Size>1</Size></Contents>"),
		"of prefixes": list("<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>"),
		"of objects without an end": list("<Contents>"),
		"of prefixes without an end": list("<CommonPrefixes>"),
		"of owners without an end": list("<Contents><Owner>"),
		"of owners without an end, in objects": list("<Contents><Owner></Contents>"),
		"of metadata without an end": list("<Contents><UserMetadata>"),
		"of metadata": list("<x-amz-meta-a>1", "</UserMetadata></Contents>"),
		"of brackets": list("<"),
		"of closing brackets": list(">"),
		"of keys without an end": list("<Contents><Key>a"),
		"of entities": list("&amp;", "</Key></Contents>"),
		"of halves of entities": list("&#x", "</Key></Contents>"),
		"of percent signs": list("%", "</Key></Contents><EncodingType>url</EncodingType>"),
		"of encoded bytes": list("%41", "</Key></Contents><EncodingType>url</EncodingType>"),
		"of versions of quotes": repeated(withoutQuotes, '"'),
		"of spaces": repeated(parseListAnswer, " ", "", "<ListBucketResult></ListBucketResult>"),
		"of spaces in its declaration": repeated(parseListAnswer, " ", "<?xml ", "><ListBucketResult></ListBucketResult>"),
		"of a root without an end": repeated(rootName, "a", "<"),
		"that goes on after the last of many": (length) => () => tokenAfterLast("k".repeat(length), "p".repeat(length)),
		"as a page of names": (length) => {
			const objects = Array.from({ length: length / 50 }, (_, index) => ({
				key: `folder/${index}`,
				sizeBytes: 1,
				modifiedMs: 0,
				etag: "e",
			}));
			const prefixes = objects.map(({ key }) => `${key}/`);
			return () => readPage({ objects, prefixes, nextToken: undefined }, "folder/");
		},
	},
	"an answer": {
		"of failed deletions": repeated(parseDeleteAnswer, "<Error><Key>a</Key><Code>b</Code></Error>"),
		"of failed deletions without an end": repeated(parseDeleteAnswer, "<Error>"),
		"of keys of failed deletions without an end": repeated(parseDeleteAnswer, "<Key>", "<Error>", "</Error>"),
		"of failed deletions that open and do not end": repeated(parseDeleteAnswer, "<Error><Key>", "", "</Error>"),
		"of tags": repeated(tagsHeader, "<Tag><Key>a</Key><Value>b</Value></Tag>"),
		"of tags without an end": repeated(tagsHeader, "<Tag><Key>"),
		"of elements without an end": repeated((text) => elementText(text, "ETag"), "<ETag>"),
		"of entities": repeated(decodeEntities, "&lt;"),
		"of ampersands": repeated(decodeEntities, "&"),
		"of an error's codes": serverError("<Code>"),
		"of an error's code": serverError("a", "<Error><Code>"),
		"of an error's spaces": serverError(" ", "<?xml version='1.0'?>"),
		"of an error's declaration": serverError("<?xml >", ""),
		"of unprintable characters": repeated((text) => printable(text, 100), "\u0007 a"),
		"of spaces for people": repeated((text) => printable(text, 100), " "),
	},
	"the head of an answer": {
		"of headers": head("a: b\r\n"),
		"of one header again and again": head("a: b\r\n", "c: d"),
		"of many lengths": head("content-length: 1\r\n"),
		"of other lengths": (length) => {
			const text = Array.from({ length: length / 20 }, (_, index) => `content-length: ${index}`).join("\r\n");
			return () => tried(parseResponseHead)(`HTTP/1.1 200 OK\r\n${text}`);
		},
		"of a long name": head("a"),
		"of a long value": head(" ", "x"),
		"of colons": head(":"),
		"of line feeds": head("\n"),
		"of metadata": (length) => {
			const headers = new Map(Array.from({ length: length / 20 }, (_, index) => [`x-amz-meta-${index}`, "\u00e4"]));
			return () => objectHeaders({ headers }, 0);
		},
		"of encodings": repeated(
			(text) => objectHeaders({ headers: new Map([["content-encoding", text]]) }, 0),
			"aws-chunked, ",
		),
		"of commas and spaces": repeated(
			(text) => objectHeaders({ headers: new Map([["content-encoding", text]]) }, 0),
			", ",
		),
		"of spaces after a comma": repeated(
			(text) => objectHeaders({ headers: new Map([["content-encoding", text]]) }, 0),
			" ",
			",",
		),
		"of a date in parentheses": repeated(
			(text) => objectHeaders({ headers: new Map([["last-modified", text]]) }, 0),
			"(",
		),
		"that comes byte by byte": (length) => () => {
			const buffer = new GrowingBuffer();
			const byte = Buffer.from("x");
			for (let count = 0; count < length; count++) buffer.append(byte);
			return buffer.bytes;
		},
	},
	"a body in chunks": {
		"of one byte": repeated((text) => decoded(text, 4096), "1\r\nx\r\n"),
		"that come byte by byte": repeated((text) => decoded(text, 1), "5\r\nxxxxx\r\n"),
		"with extensions": repeated((text) => decoded(text, 4096), "1;a=b\r\nx\r\n"),
		"with spaces in a size": repeated(
			tried((text) => decoded(text, 64)),
			" ",
			"1",
			"x\r\n",
		),
	},
	metadata: {
		"of a file's time": repeated((mtime) => parseMetadata({ mtime }), "1", "1."),
		"of attributes": repeated((xattr) => parseMetadata({ xattr }), "%22"),
		"of attributes in braces": repeated((xattr) => parseMetadata({ xattr }), "{"),
		"of numbers": repeated((mode) => parseMetadata({ mode }), "1"),
	},
	"the list of mounts": {
		"of many": repeated(parseMountinfo, "22 1 0:20 / /a rw,nosuid shared:2 - tmpfs tmpfs rw\n"),
		"of many tags": repeated(parseMountinfo, " shared:1", "22 1 0:20 / /a rw", " - tmpfs tmpfs rw"),
		"of many tags without an end": repeated(parseMountinfo, " shared:1", "22 1 0:20 / /a rw"),
		"of dashes": repeated(parseMountinfo, " -", "22 1 0:20 / /a rw"),
		"of escapes": repeated(parseMountinfo, "\\040", "22 1 0:20 / /", " rw - tmpfs tmpfs rw"),
		"of many in one place": (length) => {
			const entries = mountEntries(length / 50, (index) => ({ parentId: index + 1, mountPoint: "/a" }));
			return () => layersAt(entries, "/a");
		},
		"of many beside it": (length) => {
			const entries = mountEntries(length / 50, (index) => ({ parentId: 1, mountPoint: `/b${index}` }));
			return () => layersAt(entries, "/a/b/c");
		},
		"of many in each other": (length) => {
			const depth = Math.ceil(length / 50);
			const entries = mountEntries(depth, (index) => ({ parentId: index + 1, mountPoint: "/a".repeat(index + 1) }));
			// A path has 4096 bytes at most, however many mounts there are.
			return () => layersAt(entries, "/a".repeat(Math.min(depth, 100)));
		},
	},
	"a config": {
		"of mounts": (length) => {
			const text = fileWith(
				Array.from({ length: length / 50 }, (_, index) => ({ mountPoint: "s3://bucket", name: `m${index}` })),
			);
			return () => planOf(text);
		},
		"of mounts with faults": (length) => {
			const text = fileWith(Array.from({ length: length / 50 }, () => ({ mountPoint: "s3://bucket", name: ".." })));
			return () => planOf(text);
		},
		"of mounts of one name": (length) => {
			const text = fileWith(Array.from({ length: length / 50 }, () => ({ mountPoint: "s3://bucket", name: "a" })));
			return () => planOf(text);
		},
		"of options": (length) => {
			const options = Object.fromEntries(Array.from({ length: length / 10 }, (_, index) => [`o${index}`, "x"]));
			const text = fileWith([{ mountPoint: "s3://bucket", options }]);
			return () => planOf(text);
		},
		"of other mounts than before": (length) => {
			const specs = (of: string) =>
				Array.from({ length: length / 50 }, (_, index) => ({
					name: `${of}${index}`,
					target: `/t/${of}${index}`,
					content: of,
				}));
			const [before, after] = [specs("a"), specs("b")];
			return () => reconcile(before, after);
		},
		"of mounts that have moved": (length) => {
			const specs = (of: string) =>
				Array.from({ length: length / 50 }, (_, index) => ({
					name: `${of}${index}`,
					target: `/t/${of}${index}`,
					content: "same",
				}));
			const [before, after] = [specs("a"), specs("b")];
			return () => reconcile(before, after);
		},
		"of a long option": repeated(
			(value) => planOf(fileWith([{ mountPoint: "s3://bucket", options: { region: value } }])),
			"a",
		),
		"of lines that do not end": repeated(
			tried((text) => planOf(text)),
			"\n",
			"{",
			"x",
		),
		"of brackets": repeated(
			tried((text) => planOf(text)),
			"[",
			'{"mounts":',
		),
		"of a long source": repeated(
			tried((mountPoint) => planOf(fileWith([{ mountPoint }]))),
			"a/",
			"s3://bucket/",
		),
		"of a source of colons": repeated(withoutPassword, ":"),
		"of a source of colons and ats": repeated(withoutPassword, ":@"),
		"of a source of ats in a path": repeated(withoutPassword, "@", "a:/"),
		"of a source of colons, for S3": repeated(parseS3Source, ":", "s3://"),
		"of a source of slashes, for S3": repeated(parseS3Source, "/", "s3://bucket"),
		"of a source of letters": repeated(parseS3Source, "a"),
		"of a claim": repeated((source) => claimed(source, "mounts[0]", {}, "/secrets"), "a/", "pvc://"),
		"of a long name, to be shown": repeated(shown, "\u202e"),
		"of a misspelt name": repeated((name) => didYouMean(name, ["region", "endpoint"]), "x"),
		"of the path of a secret": repeated((value) => secretReference(value, "/secrets"), "a/", "/secrets/"),
		"of MOUNT_OPTIONS": repeated(parseMountOptions, "a=b,"),
		"of MOUNT_OPTIONS without commas": repeated(parseMountOptions, " ="),
		"of a volume's flags": repeated((text) => volume(text, ""), "--debug "),
		"of a volume's flags in quotes": repeated((text) => volume(text, ""), '"a" '),
		"of a volume's flags in quotes that do not end": repeated((text) => volume(text, ""), '\\"', '"'),
		"of a volume's flags with backslashes": repeated((text) => volume(text, ""), "\\", '"'),
		"of a volume's flags for mount": repeated((text) => volume(text, ""), "a=b,", "-o "),
		"of a volume's option with spaces": repeated((text) => volume("", text), " ", "--debug a", "b"),
		"of a volume's option of spaces": repeated((text) => volume("", text), " "),
		"of a volume's option with equals signs": repeated((text) => volume("", text), " =", "--debug"),
	},
	"the environment": {
		"of hosts without a proxy": noProxy("other.example,"),
		"of commas": noProxy(","),
		"of spaces": noProxy(" ", "x"),
		"of colons": noProxy(":"),
		"of digits": noProxy("1", ":"),
		"of a port without an end": noProxy("1", ":"),
		"of brackets": noProxy("["),
		"of ranges": noProxy("10.0.0.0/8,"),
		"of slashes": noProxy("/"),
		"of the probes' address": repeated(tried(parseListenAddress), ":"),
		"of an endpoint with slashes": repeated(
			(text) => listUrl({ ...location, endpoint: new URL(`http://host${text}`) }),
			"/",
			"/",
			"x",
		),
	},
	"a file of authorities": {
		"that do not end": repeated(
			tried((ca) => createSecureContext({ ca })),
			"-----BEGIN CERTIFICATE-----\n",
		),
		"again and again": repeated(
			tried((ca) => createSecureContext({ ca })),
			`${rootCertificates[0]}\n`,
		),
	},
	"a request": {
		"of the kernel for two names": (length) => {
			const bytes = Buffer.alloc(sizes.requestHeader + 2 * length + 2, "a");
			bytes.writeUInt32LE(bytes.length, 0);
			bytes[sizes.requestHeader + length] = 0;
			bytes[bytes.length - 1] = 0;
			const request = new Request(bytes);
			return () => request.names(0);
		},
		"for a host": repeated(isOwnHost, "a."),
		"for a host of dots": repeated(isOwnHost, "."),
		"for a host of brackets": repeated(isOwnHost, "["),
	},
	"what a program prints": {
		"of short lines": repeated((text) => lines(text, 65_536), "a\n"),
		"of one line": repeated((text) => lines(text, 65_536), "a"),
		"byte by byte": repeated((text) => lines(text, 1), "a"),
		"of carriage returns": repeated((text) => lines(text, 65_536), "\r"),
	},
	secrets: {
		"of many": (length) => {
			const secrets = Array.from({ length: length / 200 }, (_, index) => new Secret(`secret-${index}`, "a/b"));
			return () => {
				const redactor = createRedactor();
				for (const secret of secrets) redactor.add(secret);
				return redactor.redact("a secret-1");
			};
		},
		"in a long text": (length) => {
			const redactor = createRedactor();
			redactor.add(new Secret("aaaaaaab", "a/b"));
			const text = "a".repeat(length);
			return () => redactor.redact(text);
		},
		"of a long one": repeated((text) => {
			const redactor = createRedactor();
			redactor.add(new Secret(text, "a/b"));
			return redactor.redact("text");
		}, "ab+/"),
	},
};

/** What is long enough to be told from noise, and the longest that is looked at. */
const noticeableMs = 5;
const longest = 2 ** 20;
/** Eight times as long takes eight times as much, or sixty-four times if it is quadratic. */
const times = 8;
const mostTimes = 24;

/** Of this thread's processor: others that use the machine do not count. Its clock is coarse, so of several rounds on an average. */
function cpuMs(work: () => unknown, rounds: number): number {
	const before = process.threadCpuUsage();
	for (let round = 0; round < rounds; round++) work();
	const { user, system } = process.threadCpuUsage(before);
	return (user + system) / 1000 / rounds;
}

/** How many times as much it takes to read what is so many times as long; at the least, since nothing makes it quicker than it is. */
function growth(make: Case, attempts = 4): number {
	let least = Number.POSITIVE_INFINITY;
	let attempt = 0;
	for (let length = 64; length < longest;) {
		const work = make(length);
		work();
		const shortMs = cpuMs(work, 3);
		if (shortMs < noticeableMs) {
			length *= 2;
			continue;
		}
		least = Math.min(least, cpuMs(make(length * times), 1) / shortMs);
		if (least <= mostTimes || ++attempt === attempts) return least;
	}
	// The longest takes no time that matters.
	return attempt === 0 ? 1 : least;
}

describe.each(Object.keys(cases))("%s", (kind) => {
	const inputs = cases[kind] ?? {};
	test.each(Object.keys(inputs))("%s", (name) => {
		const make = inputs[name];
		if (make === undefined) throw new Error("no such case");
		expect(growth(make)).toBeLessThanOrEqual(mostTimes);
	});
});

test("what is quadratic is found", { timeout: 120_000 }, () => {
	const quadratic = repeated((text) => /a*b/.test(text), "a");
	expect(growth(quadratic, 1)).toBeGreaterThan(mostTimes);
});
