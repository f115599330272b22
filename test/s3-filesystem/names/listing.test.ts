import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Listed } from "../../../src/s3-filesystem/names/listed.ts";
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

const fileOf = (name: string, etag = name): Listed => ({ name, kind: "file", sizeBytes: 9, modifiedMs: 9, etag });

/** Asks, answers and takes the page. */
function merged(
	listing: DirectoryListing,
	keys: readonly string[],
	after: string,
	maximum: number,
	at = 1,
	tookMs = 0,
) {
	const inquiry = listing.ask(at);
	const content = readPage(list(keys, after, maximum), "d/");
	listing.merge(inquiry, after, content, tookMs);
	listing.end(inquiry);
	return content;
}

/** The names from the first one on, and whether that is all. */
function beginning(listing: DirectoryListing, since: number): { names: string[]; isAll: boolean } {
	const names: string[] = [];
	for (let key = ""; ;) {
		const range = listing.rangeAfter(key, since);
		if (range === undefined) return { names, isAll: false };
		for (let index = 0; index < range.names.count; index++) names.push(range.names.at(index).name);
		if (range.through === undefined) return { names, isAll: true };
		key = range.through;
	}
}

test("a page that was asked for before everything was forgotten is not taken", () => {
	const listing = new DirectoryListing();
	const inquiry = listing.ask(0);
	listing.clear();
	expect(listing.merge(inquiry, "", readPage(list(["a"], "", 10), "d/"))).toBe(false);
	expect(listing.find("a", 0)).toBeUndefined();
});

test("the first names are known as far as they were listed", () => {
	const listing = new DirectoryListing();
	const keys = ["a", "b/x", "c", "d"];
	const { through = "" } = merged(listing, keys, "", 2);
	expect(beginning(listing, 1)).toEqual({ names: ["a", "b"], isAll: false });
	expect(compareKeys(through, "b/x")).toBeGreaterThan(0);
	expect(compareKeys(through, "c")).toBeLessThan(0);
	expect(listing.rangeAfter("", 2)).toBeUndefined();
	merged(listing, keys, through, 2);
	expect(beginning(listing, 1)).toEqual({ names: ["a", "b", "c", "d"], isAll: true });
	// Listed anew in part, all of it is known still.
	merged(listing, keys, "", 2, 2);
	expect(beginning(listing, 1).isAll).toBe(true);
	expect(beginning(listing, 2)).toEqual({ names: ["a", "b"], isAll: false });
});

test("each page is as old as itself", () => {
	const listing = new DirectoryListing();
	const keys = ["a", "b", "c", "d"];
	const { through = "" } = merged(listing, keys, "", 2, 1);
	merged(listing, keys, through, 2, 5);
	expect(listing.find("a", 2)).toBeUndefined();
	expect(listing.find("c", 2)).toMatchObject({ entry: { name: "c" }, at: 5 });
});

test("a page that comes late changes nothing that is known from a younger one", () => {
	const listing = new DirectoryListing();
	const late = listing.ask(1);
	merged(listing, ["c", "d", "e"], "b", 2, 2);
	listing.merge(late, "", readPage(list(["a", "b", "x"], "", 10), "d/"));
	expect(beginning(listing, 1)).toEqual({ names: ["a", "b", "c", "d", "x"], isAll: true });
	expect(listing.find("c", 2)?.entry).toBeDefined();
	expect(listing.find("x", 2)).toBeUndefined();
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
	test("is nothing before the first page", () => {
		expect(new DirectoryListing().find("a", 0)).toBeUndefined();
	});

	test("ends where the page ends", () => {
		const listing = new DirectoryListing();
		merged(listing, ["a", "b", "c", "d"], "", 2);
		expect(listing.find("a", 0)?.entry?.name).toBe("a");
		expect(listing.find("aa", 0)).toMatchObject({ entry: undefined });
		expect(listing.find("c", 0)).toBeUndefined();
		expect(listing.rangeAfter("b", 0)).toBeUndefined();
	});

	test("does not say that a name is a file before the directory of that name was looked for", () => {
		const listing = new DirectoryListing();
		merged(listing, ["foo", "foo-bar", "foo/x"], "", 1);
		expect(listing.find("foo", 0)).toBeUndefined();
		listing.knowDirectory(listing.ask(1), "foo", true);
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
		const inquiry = listing.ask(1);
		listing.put(fileOf("new"));
		listing.remove("old");
		listing.merge(inquiry, "", readPage(list(["old", "other"], "", 10), "d/"));
		expect(listing.find("new", 0)?.entry?.etag).toBe("new");
		expect(listing.find("old", 0)).toMatchObject({ entry: undefined });
		expect(listing.find("other", 0)?.entry?.name).toBe("other");
	});

	test("keeps it from all pages of an inquiry, which a server may answer from what it found at first", () => {
		const listing = new DirectoryListing();
		const before = list(["a", "b", "c", "d"], "", 2);
		const inquiry = listing.ask(1);
		const { through = "" } = readPage(before, "d/");
		listing.merge(inquiry, "", readPage(before, "d/"));
		listing.put(fileOf("bb"));
		listing.remove("d");
		listing.merge(inquiry, through, readPage(list(["a", "b", "c", "d"], through, 2), "d/"));
		expect(beginning(listing, 1)).toEqual({ names: ["a", "b", "bb", "c"], isAll: true });
	});

	test("does not take a page during which more was changed here than can be remembered", () => {
		const listing = new DirectoryListing();
		const inquiry = listing.ask(1);
		for (let index = 0; index <= 20_000; index++) listing.put(fileOf(`${index}`));
		expect(listing.merge(inquiry, "", readPage(list([], "", 10), "d/"))).toBe(false);
		expect(inquiry.changes.size).toBe(0);
	});

	test("forgets what a later page does not show any more", () => {
		const listing = new DirectoryListing();
		merged(listing, ["a", "b", "c"], "", 10, 1);
		merged(listing, ["a", "c"], "", 10, 2);
		expect(listing.find("b", 0)).toMatchObject({ entry: undefined });
		expect(beginning(listing, 2)).toEqual({ names: ["a", "c"], isAll: true });
	});

	describe("of several pages", () => {
		const count = 5000;
		const keys = Array.from({ length: count }, (_, index) => `file-${String((index * 7919) % count).padStart(4, "0")}`);
		const listed = (tookMs: number): DirectoryListing => {
			const listing = new DirectoryListing();
			for (let after: string | undefined = ""; after !== undefined;)
				after = merged(listing, keys, after, 1000, 1, tookMs).through;
			return listing;
		};

		test("is asked for again in the pages that there were, in whatever order names are wanted", () => {
			const listing = listed(0);
			let asked = 0;
			for (const key of keys) {
				while (listing.find(key, 2) === undefined) {
					merged(listing, keys, listing.pageWith(key, 2), 1000, 2);
					asked++;
				}
			}
			expect(asked).toBe(5);
		});

		test("is asked for one page when one of its names is doubted, also by what is under way", () => {
			const listing = listed(0);
			const inquiry = listing.ask(2);
			listing.doubt("file-2500");
			expect(listing.merge(inquiry, "", readPage(list(keys, "", 5000), "d/"))).toBe(false);
			const isKnown = (key: string): boolean => listing.find(key, 0) !== undefined;
			expect(keys.filter((key) => !isKnown(key)).length).toBe(1001);
			merged(listing, keys, listing.pageWith("file-2500", 0), 1000, 3);
			expect(keys.every(isKnown)).toBe(true);
		});

		test("took as long as its pages together, however often they were asked for and what was changed here", () => {
			const listing = listed(100);
			expect(listing.tookMs).toBe(500);
			for (const key of keys.slice(0, 2500)) listing.put(fileOf(`${key}-made`));
			expect(listing.tookMs).toBeCloseTo(500);
			merged(listing, keys, "", 1000, 2, 300);
			expect(listing.tookMs).toBeGreaterThan(600);
			expect(listing.tookMs).toBeLessThan(800);
			listing.clear();
			expect(listing.tookMs).toBe(0);
		});
	});

	test("of one page took no time that counts: asking for it once a TTL keeps nobody waiting for ever", () => {
		const listing = new DirectoryListing();
		merged(listing, ["a", "b"], "", 1000, 1, 5000);
		expect(listing.tookMs).toBe(0);
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
					expect(beginning(listing, 0).isAll).toBe(true);
				},
			),
			{ numRuns: 2000 },
		);
	});

	test("costs the same for each name, however many this mount makes", () => {
		const perName = (count: number): number => {
			const listing = new DirectoryListing();
			listing.knowEmpty(1);
			const entries = Array.from({ length: count }, (_, index) => fileOf(`name-${(index * 7919) % count}`));
			const before = process.cpuUsage();
			for (const entry of entries) listing.put(entry);
			const { user, system } = process.cpuUsage(before);
			expect(beginning(listing, 1).names.length).toBe(new Set(entries.map(({ name }) => name)).size);
			return (user + system) / count;
		};
		perName(2500);
		expect(perName(40_000)).toBeLessThan(5 * perName(5000));
	});
});
