/**
 * Time from exec to a ready mount: the launcher with goofys against the python and sh pipeline of Fluid's guide with the same
 * goofys, in turns in the same run. Then the launcher's memory and idle CPU. Prints medians and ratios; judge by the ratios.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { execa } from "execa";
import { layersAt, parseMountinfo } from "../src/mounts/mountinfo.ts";
import { statfs } from "../src/mounts/statfs.ts";
import { startMinio, type Minio } from "../test/support/minio.ts";
import { cachedBinaries, Pod } from "../test/support/pod.ts";
import { minioPod } from "../test/support/s3-drivers.ts";

const { values } = parseArgs({
	options: { runs: { type: "string", default: "15" }, idle: { type: "string", default: "60" } },
});
const runs = Number(values.runs);
const idleSeconds = Number(values.idle);
const goofys = { title: "goofys", name: "goofys" } as const;

/** Until the kernel lists the target and it answers: what Fluid waits for. */
async function untilMounted(target: string): Promise<void> {
	for (;;) {
		if (layersAt(parseMountinfo(readFileSync("/proc/self/mountinfo", "utf8")), target).length > 0) {
			if ((await statfs(target, 2000)).kind === "answered") return;
		}
		await sleep(2);
	}
}

async function measureLauncher(minio: Minio): Promise<number> {
	const pod = new Pod(minioPod(minio, "bench", goofys));
	try {
		const startedAt = performance.now();
		pod.start();
		await untilMounted(pod.target);
		const duration = performance.now() - startedAt;
		await pod.stop();
		return duration;
	} finally {
		await pod.cleanup();
	}
}

async function measureIncumbent(minio: Minio): Promise<number> {
	const pod = new Pod(minioPod(minio, "bench", goofys));
	const folder = mkdtempSync(join(tmpdir(), "fluid-fuse-bench-"));
	try {
		// The script knows no other place for secrets than the one in the file.
		writeFileSync(
			join(folder, "config.json"),
			pod.renderConfig().replaceAll("/etc/fluid/secrets", pod.secretsDirectory),
		);
		const startedAt = performance.now();
		const script = `python3 ${import.meta.dirname}/incumbent/fluid-config-parse.py && chmod u+x ./mount-minio.sh && sh ./mount-minio.sh`;
		const child = execa("bash", ["-c", script], {
			cwd: folder,
			env: { CONFIG: join(folder, "config.json"), PATH: [cachedBinaries, process.env["PATH"]].join(delimiter) },
			stdio: "ignore",
			reject: false,
		});
		await untilMounted(pod.target);
		const duration = performance.now() - startedAt;
		await execa("umount", [pod.target]);
		await child;
		return duration;
	} finally {
		await pod.cleanup();
		rmSync(folder, { recursive: true });
	}
}

/** Resident memory, and the share of one core that the launcher and its short-lived children use while nothing happens. */
async function measureIdle(
	minio: Minio,
): Promise<{ residentMegabytes: number; privateMegabytes: number; cpuPercent: number }> {
	const pod = new Pod(minioPod(minio, "bench", goofys));
	try {
		pod.start();
		await pod.untilReady();
		await sleep(5000);
		// schedstat counts nanoseconds where stat counts ticks of 10 ms; children are only in stat.
		const cpuSeconds = (): number => {
			const fields = readFileSync(`/proc/${pod.pid}/stat`, "utf8")
				.replace(/^.*\) /, "")
				.split(" ")
				.map(Number);
			return [11, 12, 13, 14].reduce((sum, index) => sum + (fields[index] ?? 0), 0) / 100;
		};
		const before = cpuSeconds();
		await sleep(idleSeconds * 1000);
		const cpuPercent = ((cpuSeconds() - before) / idleSeconds) * 100;
		const status = readFileSync(`/proc/${pod.pid}/status`, "utf8");
		const megabytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) / 1024;
		await pod.stop();
		return { residentMegabytes: megabytes("VmRSS"), privateMegabytes: megabytes("RssAnon"), cpuPercent };
	} finally {
		await pod.cleanup();
	}
}

function median(numbers: readonly number[]): number {
	return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

const minio = await startMinio();
try {
	await minio.createBucket("bench");
	await minio.put("bench", "hello.txt", "hello\n");
	// One of each to warm the page cache and the compile cache.
	await measureLauncher(minio);
	await measureIncumbent(minio);
	const launcher: number[] = [];
	const incumbent: number[] = [];
	for (let run = 0; run < runs; run++) {
		launcher.push(await measureLauncher(minio));
		incumbent.push(await measureIncumbent(minio));
	}
	const ratios = launcher.map((duration, run) => duration / (incumbent[run] ?? Number.NaN));
	console.log(`time to a ready mount, median of ${runs} runs each, in turns`);
	console.log(`  launcher + goofys          ${median(launcher).toFixed(0)} ms`);
	console.log(`  python + sh + goofys       ${median(incumbent).toFixed(0)} ms`);
	console.log(`  ratio, median of the pairs ${median(ratios).toFixed(2)}   (aim: at most 1.5)`);
	const { residentMegabytes, privateMegabytes, cpuPercent } = await measureIdle(minio);
	console.log(`launcher at rest with one mount, over ${idleSeconds} s`);
	console.log(
		`  resident memory            ${residentMegabytes.toFixed(1)} MB, of it its own ${privateMegabytes.toFixed(1)} MB   (aim: under 70)`,
	);
	console.log(`  CPU, children included     ${cpuPercent.toFixed(2)} % of a core   (aim: under 0.5)`);
} finally {
	await minio.stop();
}
