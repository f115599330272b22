import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { freePort } from "./listen.ts";
import { cachedBinaries, projectRoot, until } from "./pod.ts";

export interface Sample {
	readonly labels: Readonly<Record<string, string>>;
	readonly value: number;
}

export interface Prometheus {
	/** What an expression is at this moment. Throws what Prometheus says of one that it cannot answer. */
	readonly query: (expression: string) => Promise<Sample[]>;
	/** What a path below `/api/v1/` answers. */
	readonly ask: (path: string) => Promise<unknown>;
	readonly stop: () => Promise<void>;
}

/** A Prometheus that scrapes that port of 127.0.0.1 every second, with the alerts of the examples. Resolves when it has scraped twice. */
export async function startPrometheus(scrapedPort: number): Promise<Prometheus> {
	const folder = await mkdtemp(join(tmpdir(), "fluid-fuse-prometheus-"));
	const port = await freePort();
	await writeFile(
		join(folder, "prometheus.yaml"),
		JSON.stringify({
			global: { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" },
			rule_files: [join(projectRoot, "examples/monitoring/alerts.yaml")],
			scrape_configs: [{ job_name: "fluid-fuse", static_configs: [{ targets: [`127.0.0.1:${scrapedPort}`] }] }],
		}),
	);
	const server = execa(
		join(cachedBinaries, "prometheus"),
		[
			"--config.file=prometheus.yaml",
			`--storage.tsdb.path=${join(folder, "data")}`,
			`--web.listen-address=127.0.0.1:${port}`,
		],
		{ cwd: folder, all: true, reject: false, stdin: "ignore" },
	);
	let said: string | undefined;
	void server.then(({ all }) => {
		said = all;
	});
	const ask = async (path: string): Promise<unknown> => {
		const answer = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`, { signal: AbortSignal.timeout(10_000) });
		const { status, data, error } = (await answer.json()) as { status: string; data: unknown; error?: string };
		if (status !== "success") throw new Error(`${path}: ${error}`);
		return data;
	};
	const query = async (expression: string): Promise<Sample[]> => {
		const { result } = (await ask(`query?query=${encodeURIComponent(expression)}`)) as {
			readonly result: readonly {
				readonly metric: Readonly<Record<string, string>>;
				readonly value: readonly [number, string];
			}[];
		};
		return result.map(({ metric, value }) => ({ labels: metric, value: Number(value[1]) }));
	};
	const stop = async (): Promise<void> => {
		server.kill();
		await server;
		await rm(folder, { recursive: true, force: true });
	};
	try {
		await until(
			async () =>
				said !== undefined || (await query("count_over_time(fluid_fuse_ready[1m]) >= 2").catch(() => [])).length > 0,
			30_000,
			() => `Prometheus has scraped nothing at port ${scrapedPort}`,
		);
		if (said !== undefined) throw new Error(`Prometheus has ended: ${said}`);
	} catch (error) {
		await stop();
		throw error;
	}
	return { query, ask, stop };
}
