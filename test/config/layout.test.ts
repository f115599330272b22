import { describe, expect, it } from "vitest";
import { placeMounts, type Layout } from "../../src/config/layout.ts";
import { parseFluidFile } from "../../src/config/load.ts";
import { fileWith, planOf, targetPath, type MountOfFile } from "./planning.ts";

function place(mounts: readonly MountOfFile[], layout: Layout = "auto") {
	const { file } = parseFluidFile(fileWith(mounts), "config.json");
	return placeMounts(file.mounts, targetPath, layout);
}

const targets = (mounts: readonly MountOfFile[], layout?: Layout) =>
	place(mounts, layout).places.map((each) => each?.target.replace(targetPath, "T"));

const faults = (mounts: readonly MountOfFile[], layout?: Layout) =>
	place(mounts, layout).faults.map(({ path, message }) => `${path}: ${message}`);

const a = { mountPoint: "s3://bucket-a", name: "a" };
const b = { mountPoint: "s3://bucket-b", name: "b" };

describe("placeMounts", () => {
	it("puts the only mount at targetPath, whatever its name and path are", () => {
		expect(targets([{ ...a, path: "/sub/folder" }])).toEqual(["T"]);
		expect(targets([{ ...a, path: "../../etc" }])).toEqual(["T"]);
		expect(place([a]).layout).toBe("root");
	});

	it("puts several mounts below targetPath, by their paths or else their names", () => {
		expect(targets([a, { ...b, path: "/shared//b/" }])).toEqual(["T/a", "T/shared/b"]);
		expect(place([a, b]).layout).toBe("named");
	});

	it("keeps a single mount where it was when the layout is named", () => {
		expect(targets([a], "named")).toEqual(["T/a"]);
		expect(targets([], "named")).toEqual([]);
	});

	it("allows mounts inside each other, and one at targetPath itself", () => {
		expect(
			targets([
				{ ...a, path: "/" },
				{ ...b, path: "/in" },
			]),
		).toEqual(["T", "T/in"]);
		expect(
			faults([
				{ ...a, path: "/x" },
				{ ...b, path: "/x/y" },
			]),
		).toEqual([]);
	});

	it("refuses several mounts in the layout root, with one fault", () => {
		expect(faults([a, b], "root")).toEqual([
			'mounts: the layout "root" takes one mount, found 2; set FLUID_FUSE_LAYOUT to named',
		]);
		const plan = planOf(fileWith([a, b]), { FLUID_FUSE_LAYOUT: "root" });
		expect(plan.mounts).toEqual([]);
		expect(plan.refused.map(({ name }) => name)).toEqual(["a", "b"]);
	});

	it("names a mount without a name after its source", () => {
		const name = (mountPoint: string) => place([{ mountPoint }], "named").places[0]?.name;
		expect(name("s3://bucket")).toBe("bucket");
		expect(name("s3://bucket/prefix/")).toBe("prefix");
		expect(name("bucket")).toBe("bucket");
		expect(name("s3://")).toBe("mount-0");
		expect(name("s3://bucket/..")).toBe("mount-0");
		expect(name("s3://bucket/a\nb")).toBe("mount-0");
	});

	it("refuses names and paths that leave targetPath", () => {
		for (const path of [
			"..",
			"/..",
			"a/../b",
			"../b",
			"/../../etc",
			"./a",
			"a/.",
			"a\nb",
			"a\0b",
			"a\u007F",
			`/${"x".repeat(256)}`,
			"\uD800",
		]) {
			const found = place([{ ...a, path }, b]);
			expect(found.places[0], path).toBeUndefined();
			expect(found.faults[0], path).toMatchObject({ path: "mounts[0].path" });
			expect(found.places[1]).toMatchObject({ name: "b" });
		}
		for (const name of ["..", ".", "a/b", "/", "../b", "a\nb", "a\0", "x".repeat(256)]) {
			for (const layout of ["root", "named"] as const) {
				expect(faults([{ ...a, name }], layout)[0], name).toMatch(
					/^mounts\[0\]\.name: .* cannot be a folder below targetPath$/,
				);
			}
			expect(faults([{ ...a, name, path: "/fine" }], "named")[0], name).toMatch(/^mounts\[0\]\.name: /);
		}
	});

	it("refuses a second mount with the same name or the same folder, and keeps the first", () => {
		expect(faults([a, { ...b, name: "a", path: "/other" }])).toEqual([
			'mounts[1]: has the same name as mounts[0], "a": give it a name or path of its own',
		]);
		expect(faults([a, { ...b, path: "/a/" }])).toEqual([
			`mounts[1]: has the same folder as mounts[0], "${targetPath}/a": give it a name or path of its own`,
		]);
		expect(faults([{ mountPoint: "s3://x/data" }, { mountPoint: "s3://y/data" }])).toHaveLength(1);
		expect(targets([a, { ...b, name: "a" }])).toEqual(["T/a", undefined]);
	});

	it("accepts names that look odd but are folders", () => {
		expect(
			targets([
				{ ...a, name: "-rf" },
				{ ...b, name: "$(reboot) & `x`" },
			]),
		).toEqual(["T/-rf", "T/$(reboot) & `x`"]);
		expect(
			targets([
				{ ...a, name: "__proto__" },
				{ ...b, name: "..data" },
			]),
		).toEqual(["T/__proto__", "T/..data"]);
		expect(
			faults([
				{ ...a, name: "é" },
				{ ...b, name: "e\u0301" },
			]),
		).toEqual([]);
	});

	it("encodes names as private folders: one component, never hidden, never longer than a folder's name, never two alike", () => {
		const names = [
			"a",
			"..data",
			"a b",
			"%41",
			"A",
			"é",
			"日".repeat(85),
			`${"日".repeat(84)}x`,
			"x".repeat(255),
			`${"x".repeat(254)}y`,
		];
		const ids = names.map((name) => place([{ ...a, name }]).places[0]?.id ?? "");
		for (const id of ids) expect(id).toMatch(/^[A-Za-z0-9_%-]{1,120}$/);
		expect(new Set(ids).size).toBe(names.length);
		expect(ids.slice(0, 4)).toEqual(["a", "%2E%2Edata", "a%20b", "%2541"]);
	});
});
