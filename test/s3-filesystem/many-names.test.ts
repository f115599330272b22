import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { bash } from "../fuse/application.ts";
import { useMemoryBucket } from "./memory-bucket.ts";
import type { MountedBucket } from "./mounted-bucket.ts";

const memory = useMemoryBucket();
const mebibyte = 1024 ** 2;
const limitMs = 170_000;

const nameOf = (index: number): string => `file-${String(index).padStart(7, "0")}`;

/** What the process that serves has computed, and the kernel for it. */
function cpuTicks({ pid }: MountedBucket): number {
	const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
		.replace(/\(.*\)/, "name")
		.split(" ");
	return Number(fields[13]) + Number(fields[14]);
}

/** Lists a directory of so many names, with memory for some 200,000 of them, and with less for all than a million files take. */
async function list(count: number) {
	memory.server.fill(Array.from({ length: count }, (_, index) => `d${count}/${nameOf(index)}`));
	const here = await memory.mount({
		settings: { memoryBytes: 32 * mebibyte },
		env: { NODE_OPTIONS: "--max-old-space-size=192" },
	});
	const [restingBytes, ticks, listings] = [here.memoryBytes, cpuTicks(here), memory.server.listings];
	const inOrder = `awk 'NR > 2 { if ($0 <= last) print "after", last, "comes", $0; last = $0 } END { print NR - 2 }'`;
	const printed = await bash(
		`${here.target}/d${count}`,
		`export LC_ALL=C; >${nameOf(count / 2)}-made; >${nameOf(count - 1)}-made
		list() { ls -f | ${inOrder}; }
		list & one=$!; list & wait $one; wait $!
		ls -lU | awk '$5 == 0 && $9 ~ /^file-/' | wc -l
		seq -f 'file-%07.0f' 0 ${count / 100} ${count - 1} | xargs stat -c %s | sort | uniq -c`,
		limitMs,
	);
	return {
		printed: printed.trim().split(/\s*\n\s*/),
		listings: memory.server.listings - listings,
		ticks: cpuTicks(here) - ticks,
		grownBytes: here.peakMemoryBytes - restingBytes,
		log: here.log,
		stats: await here.stats(),
	};
}

test(
	"a million names are listed in ten times the time of a hundred thousand, in the memory that there is for names",
	async () => {
		const small = await list(100_000);
		const large = await list(1_000_000);
		expect(small.printed).toEqual(["100002", "100002", "100002", "100 0"]);
		expect(large.printed).toEqual(["1000002", "1000002", "1000002", "100 0"]);
		// A hundred thousand are remembered.
		expect(small.listings).toBeLessThanOrEqual(2 * 101 + 10);
		expect(large.listings).toBeLessThanOrEqual(3 * 1001 + 100 + 10);
		expect(large.ticks).toBeLessThan(15 * small.ticks);
		const {
			names_limit_bytes: limitBytes = 0,
			names_bytes: bytes = 0,
			nodes = 0,
			nodes_limit: nodesLimit = 0,
		} = large.stats;
		expect([limitBytes, bytes <= limitBytes, nodes <= 1.2 * nodesLimit]).toEqual([16 * mebibyte, true, true]);
		expect(large.grownBytes).toBeLessThan(320 * mebibyte);
		const isFull = (line: string): boolean => line.includes("not all names fit into memory");
		expect([small.log.filter(isFull).length, large.log.filter(isFull).length]).toEqual([0, 1]);
	},
	2 * limitMs,
);
