import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DirectoryListing, readPage } from "../../../src/s3-filesystem/names/listing.ts";
import { compareKeys, endOfPrefix } from "../../../src/s3-filesystem/names/names.ts";
import type { ListPage } from "../../../src/s3/object-store.ts";

const object = (key: string) => ({ key, sizeBytes: 1, modifiedMs: 1, etag: key });

/** What LIST with the delimiter / answers below "d/" for keys relative to it. */
function list(relativeKeys: readonly string[], after: string, maximum: number): ListPage {
	const grouped = new Map<string, string>();
	for (const key of relativeKeys) {
		const slash = key.indexOf("/");
		grouped.set(slash === -1 ? key : key.slice(0, slash + 1), key);
	}
	const items = [...grouped.keys()]
		.filter((key) => compareKeys(key.endsWith("/") ? endOfPrefix(key) : key, after) > 0 || after === "")
		.toSorted(compareKeys);
	const page = items.slice(0, maximum);
	return {
		objects: page.filter((key) => !key.endsWith("/")).map((key) => object(`d/${key}`)),
		prefixes: page.filter((key) => key.endsWith("/")).map((key) => `d/${key}`),
		nextToken: items.length > maximum ? "more" : undefined,
	};
}

test("a page that was asked for before everything was forgotten is not taken", () => {
	const listing = new DirectoryListing();
	const start = listing.begin("", 0);
	listing.clear();
	expect(listing.merge(start, readPage(list(["a"], "", 10), "d/"), 1000)).toBe(false);
	expect(listing.find("a", 0)).toBeUndefined();
	listing.end();
});

test("the first names are known as far as they were listed", () => {
	const listing = new DirectoryListing();
	const keys = ["a", "b/x", "c", "d"];
	listing.merge(listing.begin("", 1), readPage(list(keys, "", 2), "d/"), 1000);
	const { entries = [], through = "" } = listing.beginning(1) ?? {};
	expect(entries.map(({ name }) => name)).toEqual(["b", "a"]);
	expect(compareKeys(through, "b/x")).toBeGreaterThan(0);
	expect(compareKeys(through, "c")).toBeLessThan(0);
	expect(listing.beginning(2)).toBeUndefined();
	listing.merge(listing.begin(through, 1), readPage(list(keys, through, 2), "d/"), 1000);
	expect(listing.beginning(1)).toMatchObject({ through: undefined, at: 1 });
	// Listed anew in part, all of it is known still.
	listing.merge(listing.begin("", 2), readPage(list(keys, "", 2), "d/"), 1000);
	expect(listing.beginning(1)?.through).toBeUndefined();
	expect(listing.beginning(2)?.through).toBe(through);
});

describe("a page of a listing", () => {
	test("shows directories once, and in place of files of the same name", () => {
		const page = readPage(list(["a", "a/b", "a/c", "z"], "", 10), "d/");
		expect(page.entries.map(({ name, kind }) => [name, kind])).toEqual([
			["a", "directory"],
			["z", "file"],
		]);
		expect(page.through).toBeUndefined();
	});

	test("tells the directory's own object from what is in it", () => {
		const page = readPage({ objects: [object("d/"), object("d/x")], prefixes: [], nextToken: undefined }, "d/");
		expect(page.marker).toBeDefined();
		expect(page.entries.map(({ name }) => name)).toEqual(["x"]);
	});

	test("leaves out, and counts, what cannot be a name", () => {
		const page = readPage(
			{ objects: [object(`d/${"n".repeat(256)}`)], prefixes: ["d//", "d/../", "d/./", "d/ok/"], nextToken: undefined },
			"d/",
		);
		expect(page.entries.map(({ name }) => name)).toEqual(["ok"]);
		expect(page.hidden).toBe(4);
	});
});

describe("what is known of a directory", () => {
	function merged(listing: DirectoryListing, keys: readonly string[], after: string, maximum: number, at = 1) {
		const start = listing.begin(after, at);
		const content = readPage(list(keys, after, maximum), "d/");
		listing.merge(start, content, 1000);
		listing.end();
		return content;
	}

	test("is nothing before the first page", () => {
		expect(new DirectoryListing().find("a", 0)).toBeUndefined();
	});

	test("ends where the page ends", () => {
		const listing = new DirectoryListing();
		merged(listing, ["a", "b", "c", "d"], "", 2);
		expect(listing.find("a", 0)?.entry?.name).toBe("a");
		expect(listing.find("aa", 0)).toMatchObject({ entry: undefined });
		expect(listing.find("c", 0)).toBeUndefined();
		expect(listing.complete(0)).toBeUndefined();
	});

	test("does not say that a name is a file before the directory of that name was looked for", () => {
		const listing = new DirectoryListing();
		merged(listing, ["foo", "foo-bar", "foo/x"], "", 1);
		expect(listing.find("foo", 0)).toBeUndefined();
		const start = listing.begin("foo", 1);
		listing.knowDirectory(start, "foo", true);
		listing.end();
		expect(listing.find("foo", 0)?.entry?.kind).toBe("directory");
	});

	test("is forgotten when it is too old", () => {
		const listing = new DirectoryListing();
		merged(listing, ["a"], "", 10, 5);
		expect(listing.find("a", 5)).toBeDefined();
		expect(listing.find("a", 6)).toBeUndefined();
	});

	test("keeps what was changed here while a page was under way", () => {
		const listing = new DirectoryListing();
		const start = listing.begin("", 1);
		listing.put({ name: "new", kind: "file", sizeBytes: 9, modifiedMs: 9, etag: "new" });
		listing.remove("old");
		listing.merge(start, readPage(list(["old", "other"], "", 10), "d/"), 1000);
		expect(listing.find("new", 0)?.entry?.etag).toBe("new");
		expect(listing.find("old", 0)).toMatchObject({ entry: undefined });
		expect(listing.find("other", 0)?.entry?.name).toBe("other");
		listing.end();
	});

	test("forgets what a later page does not show any more", () => {
		const listing = new DirectoryListing();
		merged(listing, ["a", "b", "c"], "", 10, 1);
		merged(listing, ["a", "c"], "", 10, 2);
		expect(listing.find("b", 0)).toMatchObject({ entry: undefined });
		expect(listing.complete(2)?.map(({ name }) => name)).toEqual(["a", "c"]);
	});

	test("agrees with the bucket, whatever the keys and the size of the pages", () => {
		const part = fc.stringMatching(/^[a-c!/.-]{1,4}$/).filter((key) => !/^\/|\/\/|(^|\/)\.{1,2}(\/|$)/.test(key));
		fc.assert(
			fc.property(
				fc.uniqueArray(part, { maxLength: 20 }),
				fc.integer({ min: 1, max: 5 }),
				part,
				(keys, size, probe) => {
					const listing = new DirectoryListing();
					let after = "";
					for (;;) {
						const { through } = merged(listing, keys, after, size);
						if (through === undefined) break;
						after = through;
					}
					const name = probe.split("/")[0] ?? "";
					if (name === "") return;
					const isDirectory = keys.some((key) => key.startsWith(`${name}/`));
					const kind = isDirectory ? "directory" : keys.includes(name) ? "file" : undefined;
					expect(listing.find(name, 0)?.entry?.kind).toBe(kind);
					expect(listing.complete(0)).toBeDefined();
				},
			),
			{ numRuns: 2000 },
		);
	});
});
