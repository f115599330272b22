import { expect, test } from "vitest";
import { bash } from "../../fuse/application.ts";
import { NodeLimit } from "../../../src/s3-filesystem/names/node-limit.ts";
import { NodeTable, type FileNode, type OpenFile } from "../../../src/s3-filesystem/names/nodes.ts";
import type { VolumeOptions } from "../../../src/s3-filesystem/names/volume.ts";
import { useMemoryBucket } from "../memory-bucket.ts";

const memory = useMemoryBucket();
const mebibyte = 1024 ** 2;

test("the kernel is asked to forget the oldest files that nobody has open, as many as come, and no directory", () => {
	const nodes = new NodeTable();
	const root = nodes.directory({ volume: undefined, parent: undefined, name: "", isVolumeRoot: true });
	const taken: string[] = [];
	const limit = new NodeLimit(nodes, 0, (parent, name) => {
		expect(parent).toBe(root.id);
		taken.push(name);
	});
	const known = (index: number): FileNode => {
		const file = nodes.file(root, {} as VolumeOptions, `${index}`);
		root.children.set(file.name, file);
		file.lookups = 1;
		return file;
	};
	nodes.directory({ volume: undefined, parent: root, name: "directory" });
	const { maximum } = limit;
	const files: FileNode[] = [];
	while (nodes.size < maximum) {
		expect(limit.makeRoom()).toBe(true);
		files.push(known(files.length));
	}
	expect(taken).toEqual([]);
	files[1]?.handles.add({} as OpenFile);
	for (let index = 0; index < 3; index++) limit.makeRoom();
	expect(taken).toEqual(["0", "2", "3", "4", "5", "6"]);
	// It does not answer.
	let isRoom = true;
	for (let more = 0; more < maximum && isRoom; more++) {
		known(maximum + more);
		isRoom = limit.makeRoom();
	}
	expect(isRoom).toBe(false);
	expect(nodes.size).toBeLessThan(1.2 * maximum);
});

test("the kernel knows no more files than the limit says, and those that are open stay what they are", async () => {
	const count = 60_000;
	memory.server.fill(Array.from({ length: count }, (_, index) => `d/file-${String(index).padStart(6, "0")}`));
	const here = await memory.mount({ settings: { memoryBytes: 64 * mebibyte } });
	const printed = await bash(
		here.target,
		`echo content >d/held; exec 3<d/held; stat -c %i d/held
		find d -size -1k | wc -l; ls -lU d | tail -n +2 | wc -l
		stat -c %i d/held; cat <&3; cat d/held`,
	);
	const [before, found, listed, after, ...contents] = printed.trim().split("\n");
	expect([found, listed, ...contents]).toEqual([String(count), String(count + 1), "content", "content"]);
	expect(after).toBe(before);
	const { nodes_limit: limit = 0 } = await here.stats();
	expect(limit).toBeLessThan(count / 2);
	await expect.poll(async () => (await here.stats())["nodes"], { timeout: 20_000 }).toBeLessThan(1.2 * limit);
});
