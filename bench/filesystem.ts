/**
 * Filesystems on one bucket of one MinIO, round by round in turns: what README.md describes. Prints tables with ratios, and
 * writes them as JSON and as a chart. Judge by the ratios.
 */
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { availableParallelism, cpus, loadavg, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { execa } from "execa";
import { createObjectStore } from "../src/s3/store.ts";
import { startDistance } from "../test/support/distance.ts";
import { startMinio } from "../test/support/minio.ts";
import { chart } from "./chart.ts";
import { createSource, uploadObjects } from "./data.ts";
import { drivers as allDrivers, type Driver } from "./drivers.ts";
import { measure, type Sample } from "./measure.ts";
import { formatSeconds, report } from "./report.ts";
import { snapshotProgram } from "./snapshot.ts";
import { summarize } from "./summary.ts";
import { workloads as allWorkloads } from "./workloads/index.ts";
import { fullSizes, quickSizes, type ObjectSet } from "./workloads/workload.ts";

const { values: options } = parseArgs({
	options: {
		quick: { type: "boolean", default: false },
		rounds: { type: "string" },
		drivers: { type: "string", default: allDrivers.map(({ name }) => name).join(",") },
		workloads: { type: "string", default: "all" },
		subject: { type: "string", default: "native" },
		limit: { type: "string" },
		latency: { type: "string", default: "0" },
		data: { type: "string" },
		out: { type: "string" },
	},
});
const rounds = Number(options.rounds ?? (options.quick ? 2 : 3));
const limitSeconds = Number(options.limit ?? (options.quick ? 120 : 600));
const latencyMs = Number(options.latency);
/** Neither a quick run nor one at a distance replaces results of a full one. */
const out = options.out ?? (options.quick || latencyMs > 0 ? undefined : join(import.meta.dirname, "results"));
const sizes = options.quick ? quickSizes : fullSizes;
const bucket = "bench";

/** Those of the list that are named, in the order of their names; a prefix ending in * names several. */
function chosen<T extends { readonly name: string }>(list: readonly T[], names: string): T[] {
	if (names === "all") return [...list];
	return names.split(",").flatMap((name) => {
		const found = list.filter((item) =>
			name.endsWith("*") ? item.name.startsWith(name.slice(0, -1)) : item.name === name,
		);
		if (found.length === 0) throw new Error(`no ${name}: there are ${list.map((item) => item.name).join(", ")}`);
		return found;
	});
}

/** In memory if there is room, so that no disk is measured. */
function dataFolder(neededBytes: number): string {
	const shared = "/dev/shm";
	const { bavail, bsize } = statfsSync(shared);
	return bavail * bsize > 1.5 * neededBytes ? shared : tmpdir();
}

async function present(drivers: readonly Driver[]): Promise<{ driver: Driver; version: string }[]> {
	const found = [];
	for (const driver of drivers) {
		const description = await driver.describe();
		if ("missing" in description) console.log(`${driver.name} is left out: ${description.missing}`);
		else found.push({ driver, version: description.version });
	}
	return found;
}

const workloads = chosen(allWorkloads(sizes), options.workloads);
const measured = await present(chosen(allDrivers, options.drivers));
const drivers = measured.map(({ driver }) => driver);

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const)
	process.on(signal, () => stop.abort(new Error(`ended by ${signal}`)));

/** The largest set of each folder. */
const objects = new Map<string, ObjectSet>();
for (const set of workloads.flatMap((workload) => workload.objects)) {
	if ((objects.get(set.folder)?.count ?? 0) < set.count) objects.set(set.folder, set);
}
const objectBytes = [...objects.values()].reduce(
	(sum, { count, sizeBytes }) => sum + count * Math.max(sizeBytes, 4096),
	0,
);
// Besides the objects: the source, what is being written, and what the server has not thrown away yet.
const folder = mkdtempSync(join(options.data ?? dataFolder(objectBytes + 4 * sizes.fileBytes), "fluid-fuse-bench-"));
const server = await startMinio({ dataDir: join(folder, "minio") });
const store = createObjectStore({
	endpoint: new URL(server.endpoint),
	region: server.region,
	bucket,
	pathStyle: true,
	credentials: { accessKeyId: server.accessKey, secretAccessKey: server.secretKey },
});
const distance = latencyMs > 0 ? await startDistance(server.endpoint, latencyMs) : undefined;
/** As the drivers see it. */
const seen = { ...server, ...(distance !== undefined && { endpoint: distance.endpoint }) };
const samples: Sample[] = [];
const [loadBefore = 0] = loadavg();
if (loadBefore > 1)
	console.log(`the machine is busy (load ${loadBefore.toFixed(1)}): only the ratios say something, if anything`);
try {
	await server.createBucket(bucket);
	console.log(`preparing ${[...objects.values()].reduce((sum, { count }) => sum + count, 0)} objects in ${folder}`);
	const source = await createSource(join(folder, "source"), sizes.fileBytes);
	for (const set of objects.values()) {
		stop.signal.throwIfAborted();
		await uploadObjects(store, set, source);
	}
	const scratch = join(folder, "scratch");
	await mkdir(scratch);
	const program = await snapshotProgram(join(folder, "program"));
	const setting = { server: seen, program, store, bucket, source, scratch, limitSeconds, signal: stop.signal };
	for (let round = 0; round < rounds; round++) {
		for (const [position, workload] of workloads.entries()) {
			console.log(`round ${round + 1} of ${rounds}: ${workload.title}`);
			const first = (round + position) % drivers.length;
			for (const driver of [...drivers.slice(first), ...drivers.slice(0, first)]) {
				stop.signal.throwIfAborted();
				const sample = await measure(driver, workload, round, { ...setting, compare: round === 0 });
				samples.push(sample);
				console.log(
					"failed" in sample
						? `  ${driver.name.padEnd(8)} failed: ${sample.failed}`
						: `  ${driver.name.padEnd(8)} ${formatSeconds(sample.seconds).padStart(8)}`,
				);
			}
		}
	}
} catch (error) {
	if (!stop.signal.aborted) throw error;
	console.log(`${(stop.signal.reason as Error).message}: what was measured until then follows`);
	process.exitCode = 130;
} finally {
	store.close();
	await distance?.stop();
	await server.stop();
	rmSync(folder, { recursive: true, force: true });
}

const driverNames = drivers.map(({ name }) => name);
const summary = summarize(samples, workloads, driverNames, options.subject);
console.log(`\n${report(summary, workloads)}`);
if (out !== undefined && samples.length > 0) {
	const machine = {
		cores: availableParallelism(),
		processor: cpus()[0]?.model ?? "",
		memoryBytes: totalmem(),
		kernel: release(),
		loadBefore,
		node: process.version,
	};
	const { stdout: commit } = await execa("git", ["-C", import.meta.dirname, "describe", "--always", "--dirty"], {
		reject: false,
	});
	const result = {
		date: new Date().toISOString(),
		commit,
		quick: options.quick,
		latencyMs,
		rounds,
		subject: options.subject,
		machine,
		drivers: Object.fromEntries(measured.map(({ driver, version }) => [driver.name, version])),
		sizes,
		...summary,
		samples,
	};
	await mkdir(out, { recursive: true });
	writeFileSync(join(out, "filesystem.json"), `${JSON.stringify(result, undefined, "\t")}\n`);
	const subtitle = `${result.date.slice(0, 10)}, ${commit}, ${rounds === 1 ? "one round" : `medians of ${rounds} rounds`}, ${machine.cores} cores, kernel ${machine.kernel}, MinIO ${latencyMs > 0 ? `${latencyMs} ms away` : "on the same machine"}`;
	writeFileSync(
		join(out, "filesystem.svg"),
		chart(summary, workloads, { drivers: driverNames, subject: options.subject, subtitle }),
	);
	console.log(`written: ${join(out, "filesystem.json")} and filesystem.svg`);
}
