import { mkdir, open, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { dashboard } from "../support/dashboard.ts";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { freePort } from "../support/listen.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, projectRoot, until } from "../support/pod.ts";
import { startPrometheus, type Prometheus, type Sample } from "../support/prometheus.ts";
import { bucketsPod } from "../support/s3-drivers.ts";

// The proxy is in this process: nothing here may wait for a mount synchronously.
let minio: Minio;
let proxy: FaultProxy;
let pod: Pod;
let prometheus: Prometheus;

beforeAll(async () => {
	minio = await startMinio();
	await minio.createBucket("data");
	proxy = await startFaultProxy(minio.endpoint);
	const port = await freePort();
	pod = new Pod({
		...bucketsPod(minio, proxy.endpoint, ["data"]),
		accessModes: ["ReadWriteMany"],
		env: { FLUID_FUSE_PROBE_ADDRESS: `127.0.0.1:${port}` },
	});
	pod.start();
	await pod.untilReady();
	prometheus = await startPrometheus(port);
});
afterAll(async () => {
	await pod.cleanup();
	await proxy.stop();
	await minio.stop();
	await prometheus.stop();
});

/** Resolves when the driver has died and another one serves. */
async function die(): Promise<void> {
	const { pid = 0 } = await pod.mount();
	process.kill(pid, "SIGKILL");
	await until(
		async () => {
			const mount = await pod.mount();
			return mount.ready && mount.pid !== pid;
		},
		30_000,
		() => pod.output,
	);
}

/** A bit of all that panels show. */
async function work(round: number): Promise<void> {
	const folder = join(pod.target, `${round}`);
	await mkdir(folder);
	await writeFile(join(folder, "file"), Buffer.alloc(3_000_000, round));
	await proxy.fail({ kind: "answer", status: 503, body: "<Error><Code>SlowDown</Code></Error>" }, { times: 1 });
	expect(await readFile(join(folder, "file"))).toHaveLength(3_000_000);
	await expect(rmdir(folder)).rejects.toThrow("ENOTEMPTY");
}

test("a Prometheus scrapes the launcher, and each panel of the dashboard shows what has happened", async () => {
	const { query } = prometheus;
	await die();
	const file = await open(join(pod.target, "pending"), "w");
	await file.write(Buffer.alloc(1_000_000));
	// Whatever is a rate needs something that happens between two scrapes.
	let empty: unknown[] = [];
	let round = 0;
	await until(
		async () => {
			await work(round++);
			const answers = await Promise.all(
				dashboard.panels.flatMap(({ title, targets }) =>
					targets.map(async ({ expr }) => ({ title, expr, samples: await query(chosen(expr)) })),
				),
			);
			expect(answers.length).toBeGreaterThan(25);
			empty = answers.filter(({ samples }) => !samples.some(isShown));
			return empty.length === 0;
		},
		60_000,
		() => `these show nothing: ${JSON.stringify(empty, undefined, "\t")}`,
	);
	await file.close();
});

const isShown = ({ value }: Sample): boolean => Number.isFinite(value);

/** As Grafana asks it with "All" chosen. */
const chosen = (expression: string): string => expression.replaceAll(/\$(?:instance|mount)\b/g, ".*");

test("the dashboard's choices are what a Prometheus has", async () => {
	const { ask } = prometheus;
	const choices: Record<string, unknown> = {};
	for (const { name, query } of dashboard.templating.list) {
		const [, metric, label] = /^label_values\((\w+), (\w+)\)$/.exec(query) ?? [];
		if (label !== undefined) choices[name] = await ask(`label/${label}/values?match[]=${metric}`);
	}
	expect(choices).toEqual({ instance: [expect.stringMatching(/^127\.0\.0\.1:\d+$/)], mount: ["data"] });
});

test("a Prometheus loads each alert and can tell whether it fires", async () => {
	const { ask } = prometheus;
	interface Groups {
		readonly groups: readonly {
			readonly rules: readonly { readonly name: string; readonly health: string; readonly state: string }[];
		}[];
	}
	const written = parse(await readFile(join(projectRoot, "examples/monitoring/alerts.yaml"), "utf8")) as {
		readonly groups: readonly { readonly rules: readonly { readonly alert: string }[] }[];
	};
	const loaded = async () => ((await ask("rules")) as Groups).groups.flatMap(({ rules }) => rules);
	await until(
		async () => (await loaded()).every(({ health }) => health !== "unknown"),
		20_000,
		() => "rules are not evaluated",
	);
	expect((await loaded()).map(({ name, health }) => ({ name, health }))).toEqual(
		written.groups.flatMap(({ rules }) => rules.map(({ alert }) => ({ name: alert, health: "ok" }))),
	);
});
