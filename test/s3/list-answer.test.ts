import { describe, expect, test } from "vitest";

import { parseListAnswer } from "../../src/s3/list-answer.ts";
import { keyOfToken } from "../../src/s3/list-position.ts";

const root = '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">';

function answer(content: string): string {
	return `<?xml version="1.0" encoding="UTF-8"?>\n${root}<Name>b</Name>${content}</ListBucketResult>`;
}

function object(key: string, more = ""): string {
	return `<Contents><Key>${key}</Key><LastModified>2026-11-24T10:18:05.055Z</LastModified><ETag>&quot;abc&quot;</ETag><Size>5</Size>${more}</Contents>`;
}

const encoded = "<EncodingType>url</EncodingType>";

describe("reads", () => {
	test("an object", () => {
		expect(parseListAnswer(answer(object("a")))).toEqual({
			objects: [{ key: "a", sizeBytes: 5, modifiedMs: Date.parse("2026-11-24T10:18:05.055Z"), etag: "abc" }],
			prefixes: [],
			nextToken: undefined,
			undecodableKeys: 0,
			hasMetadata: false,
			isVersion1: false,
			isCut: false,
		});
	});

	test.each([
		["entities", "a&amp;b&lt;&#x41;&#66;", "", "a&b<AB"],
		["encoded keys", "a+b%2Bc%2F%E2%82%AC", encoded, "a b+c/€"],
		["both", "a&amp;b%26", encoded, "a&b&"],
		["keys that only look encoded", "a+b%2Bc", "", "a+b%2Bc"],
		["keys with control characters", "a%01%0D%0Ab", encoded, "a\u0001\r\nb"],
		["keys that look like elements", "%3CKey%3E", encoded, "<Key>"],
	])("%s", (_, key, more, expected) => {
		// The encoding may be told at the end.
		expect(parseListAnswer(answer(object(key) + more))?.objects[0]?.key).toBe(expected);
		expect(parseListAnswer(answer(more + object(key)))?.objects[0]?.key).toBe(expected);
	});

	test("prefixes and where to go on", () => {
		const next = "<IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b==</NextContinuationToken>";
		const prefixes =
			"<CommonPrefixes><Prefix>a+b/</Prefix></CommonPrefixes><CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes>";
		expect(parseListAnswer(answer(`<Prefix>x</Prefix>${next}${prefixes}${encoded}`))).toMatchObject({
			prefixes: ["a b/", "c/"],
			nextToken: "a&b==",
		});
		const last = next.replace("true", "false");
		expect(parseListAnswer(answer(last))?.nextToken).toBeUndefined();
	});

	test.each([
		["its last key", object("a") + object("b"), "b"],
		[
			"the last key of its last prefix",
			`${object("a")}<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>`,
			"b/\u{10FFFD}",
		],
		["whichever of them is later", `${object("c")}<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>`, "c"],
	])("where to go on without a token: after %s", (_, content, key) => {
		for (const token of ["", "<NextContinuationToken/>", "<NextContinuationToken></NextContinuationToken>"]) {
			const page = parseListAnswer(answer(`<IsTruncated>true</IsTruncated>${token}${content}`));
			expect(keyOfToken(page?.nextToken ?? "")).toBe(key);
			expect(page?.isCut).toBe(false);
		}
	});

	test.each([
		["<IsTruncated> true\n</IsTruncated>", true],
		["<IsTruncated>True</IsTruncated>", true],
		["<IsTruncated>1</IsTruncated>", true],
		["<IsTruncated>yes</IsTruncated>", true],
		["<IsTruncated> False</IsTruncated>", false],
		["<IsTruncated>0</IsTruncated>", false],
		["<IsTruncated></IsTruncated>", undefined],
		["<IsTruncated/>", undefined],
		["", undefined],
	])("whether there is more, however it is said: %s", (said, isTruncated) => {
		const withToken = `${said}<NextContinuationToken>t</NextContinuationToken>${object("a")}`;
		expect(parseListAnswer(answer(withToken))?.nextToken).toBe((isTruncated ?? true) ? "t" : undefined);
		const { nextToken = "" } = parseListAnswer(answer(said + object("a"))) ?? {};
		expect(keyOfToken(nextToken)).toBe((isTruncated ?? false) ? "a" : undefined);
	});

	test("that there is more and nothing to go on from", () => {
		const page = parseListAnswer(answer("<IsTruncated>true</IsTruncated>"));
		expect(page).toMatchObject({ nextToken: undefined, isCut: true });
	});

	test.each(["<Marker></Marker>", "<Marker/>", "<Marker>a</Marker>"])("version 1, by its %s", (marker) => {
		expect(parseListAnswer(answer(marker))?.isVersion1).toBe(true);
	});

	test("metadata of MinIO, which are no XML", () => {
		const metadata =
			"<UserMetadata><X-Amz-Meta-A&b>x</X-Amz-Meta-A&b><content-type>text/plain</content-type><X-Amz-Meta-Mode>1&amp;2</X-Amz-Meta-Mode><X-Amz-Meta-Empty></X-Amz-Meta-Empty></UserMetadata>";
		const page = parseListAnswer(answer(object("a", `${metadata}<Internal><K>1</K></Internal>`) + object("b")));
		expect(page?.objects.map(({ metadata: found }) => found)).toEqual([
			{ "a&b": "x", mode: "1&2", empty: "" },
			undefined,
		]);
		expect(page?.hasMetadata).toBe(true);
	});

	test("neither owners nor checksums", () => {
		const owner = "<Owner><ID>1</ID><Key>not this</Key><DisplayName>x</DisplayName></Owner>";
		const page = parseListAnswer(
			answer(object("a", `${owner}<ChecksumType>FULL_OBJECT</ChecksumType><StorageClass/>`)),
		);
		expect(page?.objects).toMatchObject([{ key: "a", sizeBytes: 5 }]);
	});

	test("line breaks between elements", () => {
		const page = parseListAnswer(answer(`\n  ${object("a").replaceAll("><", ">\n    <")}\n`));
		expect(page?.objects).toMatchObject([{ key: "a", sizeBytes: 5, etag: "abc" }]);
	});
});

test("leaves out and counts what is no UTF-8", () => {
	const page = parseListAnswer(
		answer(`${object("%FF")}${object("ok")}<CommonPrefixes><Prefix>%C3/</Prefix></CommonPrefixes>${encoded}`),
	);
	expect(page).toMatchObject({ objects: [{ key: "ok" }], prefixes: [], undecodableKeys: 2 });
	expect(parseListAnswer(answer(object("a\ufffd")))).toMatchObject({ objects: [], undecodableKeys: 1 });
});

test.each(["", "-1", "1.5", "Infinity", "1e308", "0x10", "9007199254740993", "x"])(
	"leaves out and counts an object of the size %j",
	(size) => {
		const page = parseListAnswer(answer(object("a").replace(">5<", `>${size}<`) + object("b")));
		expect(page).toMatchObject({ objects: [{ key: "b" }], undecodableKeys: 1 });
	},
);

test.each([
	["an object", `${object("a").replace("</Contents>", "")}${object("b")}`],
	["the last object", object("a").replace("</Contents>", "")],
	["an owner", object("a", "<Owner><ID>1</ID>")],
	["metadata", object("a", "<UserMetadata><X-Amz-Meta-A>1</X-Amz-Meta-A>").replace("</Contents>", "")],
	["a prefix", "<CommonPrefixes><Prefix>a/</Prefix><CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>"],
])("takes no answer in which %s does not end for the whole", (_, content) => {
	expect(parseListAnswer(answer(content))).toBeUndefined();
});

test("is undefined for anything else", () => {
	for (const text of [
		"",
		"<html>",
		"<Error><Code>x</Code></Error>",
		`${root}<Contents><Key>a</Key>`,
		"ListBucketResult",
	])
		expect(parseListAnswer(text)).toBeUndefined();
});

test("ends wherever the answer does", () => {
	const whole = answer(object("a", "<UserMetadata><X-Amz-Meta-B>c</X-Amz-Meta-B></UserMetadata>"));
	for (let length = 0; length < whole.length; length++) {
		expect(parseListAnswer(whole.slice(0, length))).toBeUndefined();
		// Nor does it hang or throw when the end is there, and the middle is not.
		parseListAnswer(`${whole.slice(0, length)}</ListBucketResult>`);
	}
});

test("a thousand keys take few milliseconds", () => {
	const metadata =
		"<UserMetadata><content-type>text/plain</content-type><X-Amz-Meta-Mode>33188</X-Amz-Meta-Mode></UserMetadata>";
	const keys = Array.from({ length: 1000 }, (_, index) => object(`directory/file+name%2B${index}`, metadata));
	const xml = answer(keys.join("") + encoded);
	for (let round = 0; round < 20; round++) parseListAnswer(xml);
	const times = Array.from({ length: 20 }, () => {
		const before = process.threadCpuUsage();
		expect(parseListAnswer(xml)?.objects.length).toBe(1000);
		return process.threadCpuUsage(before).user / 1000;
	});
	// About one.
	expect(Math.min(...times)).toBeLessThan(5);
});
