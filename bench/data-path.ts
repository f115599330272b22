/**
 * What the data path of native costs, by thread: large files read and written on a mount whose server costs next to nothing. Prints medians of
 * CPU-seconds a GiB for all threads and for the busiest one, which is what runs out where there are many processors.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { once } from "node:events";
import { parseArgs } from "node:util";
import { execa } from "execa";
import { createCertificate } from "../test/support/certificates.ts";
import { Pod } from "../test/support/pod.ts";
import type { CostlessBucket } from "./costless-server.ts";
import {
	busiestSeconds,
	dropCaches,
	fuseServers,
	peakMemoryBytes,
	resetPeakMemory,
	threadSeconds,
	warmMemory,
} from "./machine.ts";
import { snapshotProgram } from "./snapshot.ts";
import { median } from "./summary.ts";
import { mebibyte } from "./workloads/workload.ts";

const { values } = parseArgs({
	options: {
		rounds: { type: "string", default: "3" },
		/** Of each file. */
		mebibytes: { type: "string", default: "512" },
		streams: { type: "string", default: "1,4" },
		work: { type: "string", default: "read,write" },
		/** Options of the mount to compare, each as JSON. */
		options: { type: "string", multiple: true, default: ["{}"] },
		tls: { type: "boolean", default: false },
	},
});
const fileBytes = Number(values.mebibytes) * mebibyte;
const streamCounts = values.streams.split(",").map(Number);
const gibibyte = 1024 ** 3;
const folder = mkdtempSync(join(tmpdir(), "fluid-fuse-data-path-"));

interface Sample {
	readonly seconds: number;
	readonly allThreads: number;
	readonly busiestThread: number;
	readonly peakMemoryBytes: number;
}

async function startServer(bucket: CostlessBucket) {
	const child = execa(process.execPath, [join(import.meta.dirname, "costless-server.ts"), JSON.stringify(bucket)], {
		stdin: "pipe",
		stderr: "inherit",
		buffer: false,
		reject: false,
	});
	const [port] = (await once(createInterface(child.stdout), "line")) as [string];
	return {
		port,
		async stop() {
			child.stdin.end();
			await child;
		},
	};
}

function podFor(port: string, caFile: string | undefined, options: object, program: string): Pod {
	const server = {
		"minio-url": `${caFile === undefined ? "http" : "https"}://127.0.0.1:${port}`,
		"minio-access-key": "/etc/fluid/secrets/keys/access",
		"minio-access-secret": "/etc/fluid/secrets/keys/secret",
		...(caFile !== undefined && { "ca-bundle": caFile }),
	};
	return new Pod({
		mounts: [{ mountPoint: "minio://bench", name: "bench", options: { ...server, ...options } }],
		secrets: { keys: { access: "access", secret: "secret-key" } },
		accessModes: ["ReadWriteMany"],
		program,
		env: { FLUID_FUSE_DRIVER: "native" },
	});
}

async function measure(pod: Pod, work: string, streams: number): Promise<Sample> {
	pod.start();
	await pod.untilReady(30_000);
	const bytes = streams * fileBytes;
	dropCaches();
	warmMemory(bytes + gibibyte);
	const pids = fuseServers(pod.pid);
	resetPeakMemory(pids);
	const before = threadSeconds(pids);
	const startedAt = performance.now();
	await Promise.all(
		Array.from({ length: streams }, async (_, index) => {
			const path = join(pod.target, work === "read" ? `file-${index}` : `written-${index}`);
			const [from, to] = work === "read" ? [path, "/dev/null"] : ["/dev/zero", path];
			await execa("dd", [`if=${from}`, `of=${to}`, "bs=1M", `count=${values.mebibytes}`]);
		}),
	);
	const seconds = (performance.now() - startedAt) / 1000;
	const after = threadSeconds(pids);
	const sumOf = (threads: ReadonlyMap<number, number>): number => threads.values().reduce((sum, one) => sum + one, 0);
	return {
		seconds,
		allThreads: ((sumOf(after) - sumOf(before)) * gibibyte) / bytes,
		busiestThread: (busiestSeconds(before, after) * gibibyte) / bytes,
		peakMemoryBytes: peakMemoryBytes(pids),
	};
}

const samples = new Map<string, Sample[]>();
try {
	const program = await snapshotProgram(join(folder, "program"));
	const certificate = values.tls ? await createCertificate(folder) : undefined;
	const server = await startServer({
		name: "bench",
		files: Math.max(...streamCounts),
		fileBytes,
		...(certificate !== undefined && {
			tls: { key: readFileSync(certificate.keyFile, "utf8"), cert: readFileSync(certificate.certificateFile, "utf8") },
		}),
	});
	try {
		for (let round = 0; round < Number(values.rounds); round++) {
			for (const work of values.work.split(",")) {
				for (const streams of streamCounts) {
					for (const options of values.options) {
						const pod = podFor(server.port, certificate?.caFile, JSON.parse(options) as object, program);
						const name = `${work}, ${streams === 1 ? "1 stream" : `${streams} streams`}, ${options}`;
						try {
							samples.set(name, [...(samples.get(name) ?? []), await measure(pod, work, streams)]);
						} finally {
							await pod.stop().catch(() => undefined);
							await pod.cleanup();
						}
					}
				}
			}
		}
	} finally {
		await server.stop();
	}
} finally {
	rmSync(folder, { recursive: true, force: true });
}
for (const [name, rounds] of samples) {
	const of = (value: (sample: Sample) => number): number => median(rounds.map(value));
	const busiest = of((sample) => sample.busiestThread);
	console.log(
		`${name}: ${of((sample) => sample.seconds).toFixed(2)} s, CPU-s a GiB: all threads ${of((sample) => sample.allThreads).toFixed(2)}, ` +
			`busiest ${busiest.toFixed(2)} (${(1 / busiest).toFixed(1)} GiB/s at most), ` +
			`peak memory ${(of((sample) => sample.peakMemoryBytes) / 1e6).toFixed(0)} MB`,
	);
}
