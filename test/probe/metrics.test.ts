import { readFileSync } from "node:fs";
import { register } from "prom-client";
import { describe, expect, it } from "vitest";
import { durationBounds, measures, type Measured } from "../../src/filesystem-process/measures.ts";
import { createMetrics } from "../../src/probe/metrics.ts";
import { mountStates } from "../../src/probe/status.ts";
import { concession, refusal, sampleMount, sampleStatus } from "./sample-status.ts";

interface Sample {
	readonly name: string;
	readonly labels: Readonly<Record<string, string>>;
	readonly value: number;
}

function parseMetrics(text: string): { samples: Sample[]; types: Map<string, string> } {
	const samples: Sample[] = [];
	const types = new Map<string, string>();
	for (const line of text.split("\n")) {
		const type = /^# TYPE (\S+) (\S+)$/.exec(line);
		if (type) types.set(type[1]!, type[2]!);
		if (line === "" || line.startsWith("#")) continue;
		const sample = /^([a-z\d_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
		if (!sample) throw new Error(`not a sample: ${line}`);
		const labels = [...(sample[2] ?? "").matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)",?/g)].map(([, label, content]) => [
			label!,
			content!,
		]);
		samples.push({ name: sample[1]!, labels: Object.fromEntries(labels), value: Number(sample[3]) });
	}
	return { samples, types };
}

function value(samples: readonly Sample[], name: string, labels: Record<string, string> = {}): number | undefined {
	return samples.find(
		(sample) => sample.name === name && Object.entries(labels).every(([key, text]) => sample.labels[key] === text),
	)?.value;
}

/** Each measure of a driver, once. */
const measuredOnce = Object.fromEntries(
	Object.entries(measures).map(([name, { type, labels }]) => {
		const counts = [...durationBounds.map(() => 0), 1];
		return [name, [{ labels: labels.map(() => "x"), value: 1, ...(type === "histogram" && { counts }) }]];
	}),
) as Measured;

describe("metrics", () => {
	it("show each mount of the status of that moment", async () => {
		let status = sampleStatus({
			mounts: [
				sampleMount({
					name: "a",
					restarts: 3,
					layers: 2,
					droppedLines: 5,
					backend: { ok: false, checkedAt: "2026-07-31T03:00:00Z" },
					troubles: [{ about: "disk of cache", message: "full", since: "2026-07-31T03:00:00Z" }],
					measured: { pending_bytes: [{ labels: [], value: 7 }] },
					refusals: { counts: { AccessDenied: 4 }, last: refusal },
					concessions: [concession],
				}),
				sampleMount({ name: "b", driver: "s3fs", state: "failed", ready: false }),
			],
		});
		const metrics = createMetrics(() => status);
		for (const scrape of [1, 2]) {
			const { samples } = parseMetrics(await metrics.render());
			expect(
				value(samples, "fluid_fuse_mount_restarts_total", { mount: "a", driver: "goofys" }),
				`scrape ${scrape}`,
			).toBe(3);
			expect(value(samples, "fluid_fuse_driver_dropped_lines_total", { mount: "a" })).toBe(5);
			expect(value(samples, "fluid_fuse_refusals_total", { mount: "a", code: "AccessDenied" })).toBe(4);
			expect(value(samples, "fluid_fuse_refusals_total", { mount: "b" })).toBeUndefined();
			expect(value(samples, "fluid_fuse_server_concession", { mount: "a", concession: "conditional-reads" })).toBe(1);
			expect(value(samples, "fluid_fuse_server_concession", { mount: "b" })).toBeUndefined();
			expect(value(samples, "fluid_fuse_mount_layers", { mount: "a" })).toBe(2);
			expect(value(samples, "fluid_fuse_mount_troubles", { mount: "a" })).toBe(1);
			expect(value(samples, "fluid_fuse_mount_troubles", { mount: "b" })).toBe(0);
			expect(value(samples, "fluid_fuse_mount_answer_age_seconds", { mount: "a" })).toBe(0.4);
			expect(value(samples, "fluid_fuse_backend_ok", { mount: "a" })).toBe(0);
			expect(value(samples, "fluid_fuse_pending_bytes", { mount: "a" })).toBe(7);
			expect(value(samples, "fluid_fuse_backend_ok", { mount: "b" })).toBeUndefined();
			expect(value(samples, "fluid_fuse_mount_ready", { mount: "b" })).toBe(0);
			expect(value(samples, "fluid_fuse_ready")).toBe(0);
			expect(
				samples.filter(({ name, labels }) => name === "fluid_fuse_mount_state" && labels["mount"] === "b"),
			).toEqual(
				mountStates.map((state) => ({
					name: "fluid_fuse_mount_state",
					labels: { mount: "b", driver: "s3fs", state },
					value: state === "failed" ? 1 : 0,
				})),
			);
		}

		status = sampleStatus({ mounts: [sampleMount({ name: "a" })] });
		const { samples } = parseMetrics(await metrics.render());
		expect(value(samples, "fluid_fuse_ready")).toBe(1);
		expect(value(samples, "fluid_fuse_pending_bytes")).toBeUndefined();
		expect(value(samples, "fluid_fuse_backend_ok", { mount: "a" })).toBeUndefined();
		expect(samples.filter(({ name, labels }) => name === "fluid_fuse_mount_state" && labels["mount"] === "b")).toEqual(
			[],
		);
	});

	it("count what the supervisor reports", async () => {
		const metrics = createMetrics(() => sampleStatus());
		expect(
			value(parseMetrics(await metrics.render()).samples, "fluid_fuse_forced_aborts_total", { mount: "data" }),
		).toBe(0);
		metrics.countError("data", "DRIVER_FAILED");
		metrics.countError("data", "DRIVER_FAILED");
		metrics.countError("", "CONFIG_INVALID");
		metrics.countForcedAbort("data");
		metrics.observeStart("goofys", 0.7);
		const { samples } = parseMetrics(await metrics.render());
		expect(value(samples, "fluid_fuse_errors_total", { mount: "data", code: "DRIVER_FAILED" })).toBe(2);
		expect(value(samples, "fluid_fuse_errors_total", { mount: "", code: "CONFIG_INVALID" })).toBe(1);
		expect(value(samples, "fluid_fuse_forced_aborts_total", { mount: "data" })).toBe(1);
		expect(value(samples, "fluid_fuse_mount_start_seconds_bucket", { driver: "goofys", le: "0.5" })).toBe(0);
		expect(value(samples, "fluid_fuse_mount_start_seconds_bucket", { driver: "goofys", le: "1" })).toBe(1);
	});

	it("tell plausible things about the process", async () => {
		const { samples } = parseMetrics(await createMetrics(() => sampleStatus()).render());
		expect(value(samples, "fluid_fuse_launcher_resident_memory_bytes")).toBeGreaterThan(10e6);
		expect(value(samples, "fluid_fuse_launcher_open_fds")).toBeGreaterThan(3);
		expect(value(samples, "fluid_fuse_launcher_cpu_seconds_total", { mode: "user" })).toBeGreaterThan(0);
		expect(value(samples, "fluid_fuse_launcher_start_time_seconds")).toBe(Date.parse("2026-07-31T02:59:00Z") / 1000);
	});

	it("tell what a driver's process uses, once for all that it serves", async () => {
		const mounts = [sampleMount({ name: "a", pid: process.pid }), sampleMount({ name: "b", pid: process.pid })];
		const { samples } = parseMetrics(await createMetrics(() => sampleStatus({ mounts })).render());
		const of = (name: string, labels = {}): number =>
			value(samples, `fluid_fuse_driver_${name}`, { mount: "a", ...labels }) ?? 0;
		const memory = process.memoryUsage.rss();
		expect(of("resident_memory_bytes")).toBeGreaterThan(memory / 2);
		expect(of("resident_memory_bytes")).toBeLessThan(memory * 2);
		expect(of("cpu_seconds_total", { mode: "user" })).toBeGreaterThan(0);
		expect(of("busiest_thread_cpu_seconds_total")).toBeGreaterThan(0);
		expect(of("open_fds")).toBeGreaterThan(3);
		expect(of("io_bytes_total", { direction: "read" })).toBeGreaterThan(100_000);
		expect(
			samples.filter(({ name, labels }) => name.startsWith("fluid_fuse_driver_") && labels["mount"] === "b"),
		).toEqual([{ name: "fluid_fuse_driver_dropped_lines_total", labels: { mount: "b" }, value: 0 }]);
	});

	it("show what a driver measured as Prometheus wants histograms", async () => {
		const counts = [2, 1, ...durationBounds.slice(2).map(() => 0), 4];
		const measured: Measured = { operation_duration_seconds: [{ labels: ["read"], value: 300, counts }] };
		const { samples } = parseMetrics(
			await createMetrics(() => sampleStatus({ mounts: [sampleMount({ measured })] })).render(),
		);
		const of = (suffix: string, labels = {}): number | undefined =>
			value(samples, `fluid_fuse_operation_duration_seconds_${suffix}`, {
				mount: "data",
				operation: "read",
				...labels,
			});
		expect(of("bucket", { le: "0.00005" })).toBe(2);
		expect(of("bucket", { le: "60" })).toBe(3);
		expect(of("bucket", { le: "+Inf" })).toBe(7);
		expect([of("count"), of("sum")]).toEqual([7, 300]);
	});

	it("keep a hostile name inside its label", async () => {
		const name = 'x"} 1\nfluid_fuse_ready 1 \\';
		const { samples } = parseMetrics(
			await createMetrics(() =>
				sampleStatus({ mounts: [sampleMount({ name, ready: false, measured: measuredOnce })] }),
			).render(),
		);
		expect(value(samples, "fluid_fuse_mount_ready", { mount: String.raw`x\"} 1\nfluid_fuse_ready 1 \\` })).toBe(0);
		expect(samples.filter((sample) => sample.name === "fluid_fuse_ready")).toHaveLength(1);
	});

	it("name no bucket, endpoint or path", async () => {
		const text = await createMetrics(() =>
			sampleStatus({ mounts: [sampleMount({ source: "s3://secret-bucket/prefix" })] }),
		).render();
		expect(text).not.toMatch(/secret-bucket|prefix|runtime-mnt/);
	});

	it("leave the global registry of prom-client alone", () => {
		createMetrics(() => sampleStatus());
		createMetrics(() => sampleStatus());
		expect(register.getMetricsAsArray()).toEqual([]);
	});
});

describe("docs/metrics.md", () => {
	it("lists exactly the metrics that are exported, with type and labels", async () => {
		const facts = {
			backend: { ok: true, checkedAt: "2026-07-31T03:00:00Z" },
			measured: measuredOnce,
			pid: process.pid,
			refusals: { counts: { AccessDenied: 1 }, last: refusal },
			concessions: [concession],
		};
		const dataset = { namespace: "team-a", name: "training" };
		const metrics = createMetrics(() => sampleStatus({ dataset, mounts: [sampleMount(facts)] }));
		metrics.countError("data", "DRIVER_FAILED");
		metrics.countExchange("data", "done");
		metrics.observeStart("goofys", 1);
		metrics.observeRecovery("data", "continued", 1);
		const { samples, types } = parseMetrics(await metrics.render());
		const exported = new Map<string, string>();
		for (const [name, type] of types) {
			const sample = samples.find((each) => each.name === (type === "histogram" ? `${name}_sum` : name));
			expect(sample, `a sample of ${name}`).toBeDefined();
			exported.set(name, `${type} ${Object.keys(sample?.labels ?? {}).join(" ")}`);
		}

		const page = readFileSync(new URL("../../docs/metrics.md", import.meta.url), "utf8");
		const documented = new Map<string, string>();
		for (const [, name, type, labels] of page.matchAll(/^\| `(fluid_fuse_\w+)` +\| (\w+) +\| (.*?) +\| .+ \|$/gm)) {
			documented.set(name!, `${type} ${[...labels!.matchAll(/\w+/g)].join(" ")}`);
		}
		expect(documented).toEqual(exported);
	});

	it("follow Prometheus' naming: base units, and _total on every counter and nothing else", async () => {
		const { types } = parseMetrics(await createMetrics(() => sampleStatus()).render());
		for (const [name, type] of types) {
			expect(name).toMatch(/^fluid_fuse_[a-z\d_]+$/);
			expect({ name, total: name.endsWith("_total") }).toEqual({ name, total: type === "counter" });
			expect(name).not.toMatch(/milli|_ms$|_kb|_mb|percent/);
		}
	});
});
