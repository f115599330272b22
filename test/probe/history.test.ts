import { expect, it, onTestFinished, vi } from "vitest";
import { HistoryKeeper } from "../../src/probe/history.ts";
import type { Measured } from "../../src/filesystem-process/measures.ts";
import type { LauncherStatus } from "../../src/probe/status.ts";
import { ask, startServer } from "./running-server.ts";
import { sampleMount, sampleStatus } from "./sample-status.ts";

/** Of 16 buckets, `fast` below 50 µs and `slow` between 20 and 50 ms. */
function counted(readBytes: number, fast: number, slow: number, hits = 0, misses = 0): Measured {
	const counts = Array.from({ length: 16 }, (_, bucket) => (bucket === 0 ? fast : bucket === 5 ? slow : 0));
	return {
		operations_total: [
			{ labels: ["read", ""], value: fast + 0.75 * slow },
			{ labels: ["lookup", "ENOENT"], value: 0.25 * slow },
			{ labels: ["statfs", ""], value: 1000 * (fast + slow) },
		],
		operation_duration_seconds: [
			{ labels: ["read"], value: 1, counts },
			{ labels: ["statfs"], value: 1, counts: counts.map((_, bucket) => (bucket === 14 ? 1e6 : 0)) },
		],
		read_bytes_total: [{ labels: [], value: readBytes }],
		s3_requests_total: [{ labels: ["GetObject", "200"], value: 3 * hits }],
		s3_retries_total: [{ labels: ["THROTTLED"], value: 2 * misses }],
		cache_reads_total: [
			{ labels: ["hit"], value: hits },
			{ labels: ["miss"], value: misses },
		],
		pending_bytes: [{ labels: [], value: 7 }],
		open_files: [{ labels: [], value: 2 }],
	};
}

function keep(looks: (Measured | undefined)[]): HistoryKeeper {
	let look = 0;
	const status = async (): Promise<LauncherStatus> => {
		// The last one stays: what is seen twice has done nothing in between.
		const measured = looks[Math.min(look++, looks.length - 1)];
		const leaving = sampleMount({ measured: counted(1, 1, 1), leaving: true });
		return sampleStatus({ mounts: [sampleMount(measured && { measured }), leaving, sampleMount({ name: "without" })] });
	};
	const keeper = new HistoryKeeper(status, 20);
	onTestFinished(() => keeper.end());
	return keeper;
}

it("knows what mounts that measure themselves did since the look before, without what the launcher asks", async () => {
	const keeper = keep([counted(0, 0, 0), counted(1e6, 80, 20, 3, 1)]);
	await vi.waitFor(() => expect(keeper.history().mounts[0]?.openFiles.length).toBeGreaterThan(1));
	const { mounts } = keeper.history();
	expect(mounts).toMatchObject([{ mount: "data" }]);
	const [data] = mounts;
	const seconds = 1e6 / (data?.readBytesPerSecond[0] ?? 0);
	expect(seconds).toBeGreaterThan(0.005);
	expect((data?.operationsPerSecond[0] ?? 0) * seconds).toBeCloseTo(100, 0);
	expect(data?.operationSeconds.slice(0, 2)).toEqual([0.05, null]);
	expect(data?.firstByteSeconds[0]).toBeNull();
	expect(data?.cacheHits.slice(0, 2)).toEqual([0.75, null]);
	expect((data?.absentPerSecond[0] ?? 0) * seconds).toBeCloseTo(5, 0);
	expect((data?.requestsPerSecond[0] ?? 0) * seconds).toBeCloseTo(9, 0);
	expect((data?.retriesPerSecond[0] ?? 0) * seconds).toBeCloseTo(2, 0);
	expect(data?.readBytesPerSecond[1]).toBe(0);
	expect(data?.pendingBytes[0]).toBe(7);
	expect(data?.openFiles[0]).toBe(2);
});

it("counts anew what a process has done that took the place of another", async () => {
	const keeper = keep([counted(1e6, 1000, 1000), counted(1000, 10, 0)]);
	await vi.waitFor(() => expect(keeper.history().mounts[0]?.openFiles.length).toBeGreaterThan(0));
	const [data] = keeper.history().mounts;
	expect(data?.readBytesPerSecond[0]).toBeGreaterThan(0);
	expect(data?.operationSeconds[0]).toBe(0.000_05);
});

it("knows nothing of the time in which a mount could not be asked", async () => {
	const keeper = keep([counted(0, 0, 0), undefined, counted(1e6, 1, 0), counted(1e6, 1, 0)]);
	await vi.waitFor(() => expect(keeper.history().mounts[0]?.openFiles.length).toBeGreaterThan(2));
	expect(keeper.history().mounts[0]?.readBytesPerSecond.slice(0, 3)).toEqual([null, null, 0]);
});

it("keeps a quarter of an hour", async () => {
	const keeper = keep([counted(0, 0, 0)]);
	await vi.waitFor(() => expect(keeper.history().mounts[0]?.openFiles.length).toBe(60), { timeout: 20_000 });
	await new Promise((resolve) => setTimeout(resolve, 200));
	expect(keeper.history().mounts[0]?.openFiles.length).toBe(60);
}, 30_000);

it("answers /history before there is any", async () => {
	const { url } = await startServer();
	const { statusCode, body } = await ask(url, "/history");
	expect({ statusCode, body: JSON.parse(body) as unknown }).toEqual({
		statusCode: 200,
		body: { everySeconds: 15, mounts: [] },
	});
});
