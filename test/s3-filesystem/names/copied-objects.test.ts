import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { parseListAnswer } from "../../../src/s3/list-answer.ts";
import { CopiedObjects } from "../../../src/s3-filesystem/names/copied-objects.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const pages = 50;
const keysPerPage = 1000;

function* listed() {
	for (let page = 0; page < pages; page++) {
		const contents = Array.from({ length: keysPerPage }, (_, index) => {
			const key = `data/directory-${page}/sample-${String(index).padStart(8, "0")}.jpg`;
			const etag = `${page}-${index}`.padStart(32, "0");
			return `<Contents><Key>${key}</Key><LastModified>2026-11-24T10:18:05.055Z</LastModified><ETag>&quot;${etag}&quot;</ETag><Size>5</Size></Contents>`;
		});
		const answer = Buffer.from(`<ListBucketResult>${contents.join("")}</ListBucketResult>`);
		yield* parseListAnswer(answer.toString())?.objects ?? [];
	}
}

test("what was copied is remembered, in 300 bytes for each object", () => {
	collect();
	const before = process.memoryUsage().heapUsed;
	const copied = new CopiedObjects();
	for (const { key, etag, modifiedMs, sizeBytes } of listed()) {
		const version = { etag: `${etag.slice(0, 31)}c`, sizeBytes, modifiedMs: modifiedMs + 1000 };
		copied.set(`moved/${key.slice("data/".length)}`, { fromEtag: etag, fromModifiedMs: modifiedMs, version });
	}
	collect();
	const bytes = (process.memoryUsage().heapUsed - before) / (pages * keysPerPage);
	expect(bytes).toBeLessThan(300);

	const modifiedMs = Date.parse("2026-11-24T10:18:05.055Z");
	const etag = "49-7".padStart(32, "0");
	const version = { etag: `${etag.slice(0, 31)}c`, sizeBytes: 5, modifiedMs: modifiedMs + 1000 };
	const key = "moved/directory-49/sample-00000007.jpg";
	const expected = { fromEtag: etag, fromModifiedMs: modifiedMs, version };
	expect(copied.get(key)).toEqual(expected);
	const same = { ...expected, version: { ...version, etag } };
	copied.set(key, same);
	expect(copied.get(key)).toEqual(same);
	copied.delete(key);
	expect(copied.get(key)).toBeUndefined();
	expect([...copied.keys()].length).toBe(pages * keysPerPage - 1);
});
