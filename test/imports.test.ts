import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "./support/pod.ts";

const source = join(projectRoot, "src");

/** Rooms of `src`, from the top down: what stands in one may import only what stands in it or below. ARCHITECTURE.md says why. */
const rooms = [
	"main.ts",
	"cli",
	"launcher.ts",
	"supervisor",
	"probe",
	"vendor",
	"config",
	"drivers",
	"drivers/csi",
	"options",
	"filesystem-process",
	"log.ts",
	"recent-lines.ts",
	"secrets",
	"s3-filesystem",
	"s3-filesystem/names",
	"s3-filesystem/reading",
	"s3-filesystem/writing",
	"s3-filesystem/disks",
	"s3-filesystem/records",
	"fuse",
	"mounts",
	"s3/check",
	"s3/identity",
	"s3",
	"s3/http",
	"errors.ts",
	"named-file.ts",
	"bytes.ts",
	"control-groups.ts",
	"signals.ts",
	"threads.ts",
	"turns.ts",
	"version.ts",
	"within.ts",
];

/** The files of `src` that each one imports, types too. */
const imports = new Map(
	globSync("**/*.ts", { cwd: source }).map((file) => {
		const text = readFileSync(join(source, file), "utf8");
		const specifiers = [...text.matchAll(/\b(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)].map(
			([, specifier = ""]) => specifier,
		);
		return [
			file,
			specifiers.map((specifier) => join(dirname(file), specifier)).filter((path) => !path.startsWith("..")),
		];
	}),
);

function roomOf(file: string): number {
	return rooms.indexOf(dirname(file) === "." ? file : dirname(file));
}

test("every file stands in a room that has its place", () => {
	expect([...imports.keys()].filter((file) => roomOf(file) < 0)).toEqual([]);
	expect(rooms.filter((room) => ![...imports.keys()].some((file) => rooms[roomOf(file)] === room))).toEqual([]);
});

test("imports lead down, types too", () => {
	const upward = [...imports].flatMap(([file, imported]) =>
		imported.filter((other) => roomOf(other) < roomOf(file)).map((other) => `${file} -> ${other}`),
	);
	expect(upward).toEqual([]);
});

test("reading and writing do not know of each other", () => {
	const sideways = [...imports].flatMap(([file, imported]) =>
		imported
			.filter((other) => file.startsWith("s3-filesystem/reading/") && other.startsWith("s3-filesystem/writing/"))
			.map((other) => `${file} -> ${other}`),
	);
	expect(sideways).toEqual([]);
});

test("no imports go in a circle, types too", () => {
	const circles: string[] = [];
	const done = new Set<string>();
	const visit = (file: string, path: readonly string[]): void => {
		const start = path.indexOf(file);
		if (start >= 0) circles.push([...path.slice(start), file].join(" -> "));
		if (start >= 0 || done.has(file)) return;
		for (const other of imports.get(file) ?? []) visit(other, [...path, file]);
		done.add(file);
	};
	for (const file of imports.keys()) visit(file, []);
	expect(circles).toEqual([]);
});
