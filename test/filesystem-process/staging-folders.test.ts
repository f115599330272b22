import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	statSync,
	symlinkSync,
	utimesSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { pendingFolders, removeAbandoned, StagingFolder } from "../../src/filesystem-process/staging-folders.ts";
import { projectRoot } from "../support/pod.ts";

let parent: string;
beforeEach(() => {
	parent = mkdtempSync(join(tmpdir(), "staging-folders-"));
});
afterEach(() => rmSync(parent, { recursive: true, force: true }));

const yesterday = new Date(Date.now() - 48 * 3_600_000);

/** Makes one in a process of its own, which is killed then, or lives on until `kill` is called. */
async function madeByAnother(
	options = {},
	{
		path = join(parent, randomUUID()),
		how = "make",
	}: { readonly path?: string; readonly how?: "make" | "takeOver" } = {},
): Promise<{ readonly path: string; readonly kill: () => Promise<void> }> {
	const module = join(projectRoot, "src/filesystem-process/staging-folders.ts");
	const program = `
		import { StagingFolder } from ${JSON.stringify(module)};
		globalThis.folder = new StagingFolder(${JSON.stringify(path)}, ${JSON.stringify(options)});
		folder.${how}();
		console.log("made");
		setInterval(() => undefined, 1000);`;
	const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
		stdio: ["ignore", "pipe", "inherit"],
	});
	const exited = once(child, "exit");
	await Promise.race([once(child.stdout, "data"), exited]);
	expect(existsSync(path)).toBe(true);
	return {
		path,
		kill: async () => {
			child.kill("SIGKILL");
			await exited;
		},
	};
}

test("what a process that was killed has left goes, and what another one uses stays, however long ago it wrote", async () => {
	const killed = await madeByAnother();
	const living = await madeByAnother();
	try {
		for (const { path } of [killed, living]) {
			writeFileSync(join(path, "0123456789ab-1.0"), "a part");
			utimesSync(path, yesterday, yesterday);
		}
		await killed.kill();
		const own = new StagingFolder(join(parent, randomUUID()));
		own.make();
		const before = readdirSync(parent).filter((name) => join(parent, name) !== killed.path);
		await Promise.all([removeAbandoned(parent), removeAbandoned(parent)]);
		expect(readdirSync(parent)).toEqual(before);
		expect(readdirSync(living.path)).toEqual(["0123456789ab-1.0", "owner"]);
	} finally {
		await living.kill();
	}
	await removeAbandoned(parent);
	expect(existsSync(living.path)).toBe(false);
});

test("what another process is to go on with waits for it", async () => {
	const { path, kill } = await madeByAnother({ isHeritable: true });
	const { path: abandoned, kill: killOther } = await madeByAnother({ isHeritable: true });
	await Promise.all([kill(), killOther()]);
	const removed = removeAbandoned(parent, 2000);
	new StagingFolder(path, { isHeritable: true }).takeOver();
	await removed;
	expect(existsSync(path)).toBe(true);
	expect(existsSync(abandoned)).toBe(false);
});

test("it waits from the death of the last one that went on with it", async () => {
	const { path, kill } = await madeByAnother({ isHeritable: true });
	await kill();
	const removed = removeAbandoned(parent, 4000);
	await (await madeByAnother({ isHeritable: true }, { path, how: "takeOver" })).kill();
	await removed;
	expect(existsSync(path)).toBe(true);
	await removeAbandoned(parent, 0);
	expect(existsSync(path)).toBe(false);
});

test("who goes on with it and cannot lock it uses it all the same, and nobody takes it for abandoned", async () => {
	const { path, kill } = await madeByAnother({ isHeritable: true });
	writeFileSync(join(path, "part"), "content");
	await kill();
	const before = process.env["PATH"];
	process.env["PATH"] = "/nowhere";
	try {
		const folder = new StagingFolder(path, { isHeritable: true });
		folder.takeOver();
		folder.make();
	} finally {
		process.env["PATH"] = before;
	}
	await removeAbandoned(parent, 0);
	expect(readdirSync(path)).toEqual(["part"]);
});

test("what is not ours stays, whatever its name and its age", async () => {
	const { path, kill } = await madeByAnother();
	await kill();
	const mark = readFileSync(join(path, "owner"), "utf8");
	rmSync(path, { recursive: true });
	const elsewhere = mkdtempSync(join(tmpdir(), "staging-elsewhere-"));
	try {
		writeFileSync(join(elsewhere, "owner"), mark);
		const uuid = (): string => join(parent, randomUUID());
		for (const [folder, owner] of [
			[join(parent, "thesis"), mark],
			[uuid(), undefined],
			[uuid(), ""],
			[uuid(), "me"],
			[uuid(), `${mark}and more`],
			[uuid(), Buffer.alloc(100_000, mark)],
		] as const) {
			mkdirSync(folder);
			writeFileSync(join(folder, "work"), "of years");
			if (owner !== undefined) writeFileSync(join(folder, "owner"), owner);
			utimesSync(folder, yesterday, yesterday);
		}
		writeFileSync(uuid(), mark);
		symlinkSync(elsewhere, uuid());
		const linked = uuid();
		mkdirSync(linked);
		symlinkSync(join(elsewhere, "owner"), join(linked, "owner"));
		const before = readdirSync(parent, { recursive: true });
		await removeAbandoned(parent);
		expect(readdirSync(parent, { recursive: true })).toEqual(before);
		expect(readdirSync(elsewhere)).toEqual(["owner"]);
	} finally {
		rmSync(elsewhere, { recursive: true });
	}
});

test("nor is anything taken for pending that is not ours", () => {
	for (const owner of ["me", "", undefined]) {
		const path = join(parent, randomUUID());
		mkdirSync(path);
		writeFileSync(join(path, "work"), "of years");
		if (owner === undefined) mkdirSync(join(path, "owner"));
		else writeFileSync(join(path, "owner"), owner);
	}
	const own = join(parent, randomUUID());
	new StagingFolder(own, { keepsPending: true }).make();
	expect(Array.from(pendingFolders(parent), ({ path }) => path)).toEqual([own]);
});

test("a folder that somebody has made in ours keeps it", async () => {
	const { path, kill } = await madeByAnother();
	await kill();
	mkdirSync(join(path, "theirs"));
	writeFileSync(join(path, "theirs", "work"), "of years");
	await removeAbandoned(parent);
	expect(readFileSync(join(path, "theirs", "work"), "utf8")).toBe("of years");
});

test("one that was taken away is made again, for its owner only, and one that is there is left as it is", () => {
	const path = join(parent, "writing", randomUUID());
	const folder = new StagingFolder(path);
	folder.make();
	expect(statSync(path).mode & 0o777).toBe(0o700);
	writeFileSync(join(path, "part"), "content");
	folder.make();
	expect(readdirSync(path)).toEqual(["owner", "part"]);
	rmSync(path, { recursive: true });
	folder.make();
	expect(readdirSync(path)).toEqual(["owner"]);
	expect(readdirSync(join(path, ".."))).toHaveLength(1);
});

test("without flock it is used all the same, and nobody takes it for abandoned", async () => {
	const path = join(parent, randomUUID());
	const before = process.env["PATH"];
	process.env["PATH"] = "/nowhere";
	try {
		new StagingFolder(path).make();
	} finally {
		process.env["PATH"] = before;
	}
	expect(readdirSync(path)).toEqual([]);
	await removeAbandoned(parent);
	expect(existsSync(path)).toBe(true);
});

test("a parent that is not there, or is a file, is nothing to be removed", async () => {
	await removeAbandoned(join(parent, "absent"));
	writeFileSync(join(parent, "file"), "");
	await removeAbandoned(join(parent, "file"));
	expect(readdirSync(parent)).toEqual(["file"]);
});
