import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../support/pod.ts";
import { FilesystemProcess, unreachableVolume } from "./process.ts";

let filesystem: FilesystemProcess;
beforeEach(() => {
	filesystem = new FilesystemProcess();
});
afterEach(() => filesystem.cleanUp());

/** Of a folder: how many operations failed, by what the process tells when it is asked. */
async function failedIn(folder: string): Promise<number> {
	const before = filesystem.reports.length;
	filesystem.tell({ kind: "measure" });
	const told = () => filesystem.reports.slice(before).findLast(({ kind }) => kind === "stats");
	await until(
		() => told() !== undefined,
		20_000,
		() => filesystem.output,
	);
	const report = told();
	const samples = report?.kind === "stats" ? (report.volumes?.[folder]?.operations_total ?? []) : [];
	return samples.reduce((sum, { labels: [, errno], value }) => (errno === "EIO" ? sum + value : sum), 0);
}

test("what is counted of a folder goes with it, and begins anew when it comes back", async () => {
	const [one, other] = ["one", "other"].map((folder) => ({ ...unreachableVolume, folder, retryForMs: 100 }));
	if (one === undefined || other === undefined) throw new Error("there are two");
	await filesystem.start({ volumes: [one, other] });
	for (const folder of ["one", "other"]) {
		const { exitCode } = await execa("stat", [join(filesystem.mountpoint, folder, "a")], { reject: false });
		expect(exitCode).toBe(1);
		expect(await failedIn(folder)).toBeGreaterThan(0);
	}
	filesystem.tell({ kind: "remove", folder: "one", departure: 1, visibleMs: 100, hiddenMs: 100 });
	await until(
		() => filesystem.reports.some(({ kind }) => kind === "removed"),
		20_000,
		() => filesystem.output,
	);
	filesystem.tell({ kind: "put", volume: one });
	expect(await failedIn("one")).toBe(0);
	expect(await failedIn("other")).toBeGreaterThan(0);
}, 60_000);
