import { stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { bash } from "../../fuse/application.ts";
import { useMemoryBucket } from "../memory-bucket.ts";

const memory = useMemoryBucket();
const pageMs = 100;

test("who asks for all names of a directory ends, however much longer than the TTL its listing takes", async () => {
	const count = 20_000;
	memory.server.fill(Array.from({ length: count }, (_, index) => `d/file-${String(index).padStart(6, "0")}`));
	memory.server.manners({ delayMs: pageMs });
	const here = await memory.mount({ volume: { ttlMs: 1000 } });
	const before = memory.server.listings;
	const beganAt = performance.now();
	// It asks for sizes when it has all names, in the order of their inode numbers, which is none.
	const found = await bash(here.target, "find d -size -1k | wc -l");
	const tookMs = performance.now() - beganAt;
	expect(Number(found)).toBe(count);
	// Of the time that it took after the names were listed, half may have gone into listing them again.
	const pages = count / 1000;
	expect(memory.server.listings - before).toBeLessThanOrEqual(2 * pages + 5 + tookMs / 2 / pageMs);

	const names = ["made-elsewhere"];
	memory.server.fill(names.map((name) => `d/${name}`));
	const isSeen = async (): Promise<boolean> =>
		stat(join(here.target, "d", ...names)).then(
			() => true,
			() => false,
		);
	await expect.poll(isSeen, { timeout: 40_000, interval: 200 }).toBe(true);
});

test("a directory whose pages each take longer than the TTL is listed as a whole, by several at once", async () => {
	memory.server.fill(Array.from({ length: 4500 }, (_, index) => `d/file-${String(index).padStart(6, "0")}`));
	memory.server.manners({ delayMs: 600 });
	const here = await memory.mount({ volume: { ttlMs: 300 } });
	const before = memory.server.listings;
	const found = await bash(here.target, "find d -size -1k | wc -l & ls -f d | tail -n +3 | wc -l & wait");
	expect(found.trim().split("\n")).toEqual(["4500", "4500"]);
	// And one beside the directory's attributes, which is too old when it comes.
	expect(memory.server.listings - before).toBeLessThanOrEqual(3 * 5 + 1);
});

test("several who list a directory at once wait for the same pages, and one that ends keeps the others from nothing", async () => {
	memory.server.fill(Array.from({ length: 20_000 }, (_, index) => `d/file-${String(index).padStart(6, "0")}`));
	memory.server.manners({ delayMs: 50 });
	const here = await memory.mount();
	const before = memory.server.listings;
	const printed = await bash(
		here.target,
		"for i in 1 2 3 4; do ls -f d | wc -l & done; ls -f d | head -n 1 >/dev/null & wait",
	);
	expect(printed).toBe("20002\n".repeat(4));
	expect(memory.server.listings - before).toBeLessThanOrEqual(20 + 10);
});

test("a file that was replaced elsewhere while it was known takes one page, and not the directory", async () => {
	const put = async (content: string): Promise<unknown> =>
		fetch(`${memory.server.endpoint}/bucket/d/file-004500`, { method: "PUT", body: content });
	memory.server.fill(Array.from({ length: 9000 }, (_, index) => `d/file-${String(index).padStart(6, "0")}`));
	await put("before");
	const here = await memory.mount();
	expect(await bash(here.target, "ls d | wc -l")).toBe("9000\n");
	await put("after");
	const before = memory.server.listings;
	const printed = await bash(
		here.target,
		"cat d/file-004500 2>/dev/null || echo stale; cat d/file-004500; ls d | wc -l",
	);
	expect(printed).toBe("stale\nafter9000\n");
	expect(memory.server.listings - before).toBeLessThanOrEqual(2);
});
