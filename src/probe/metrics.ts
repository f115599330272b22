import { readdirSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { ErrorCode } from "../errors.ts";
import { checkHealth } from "./health.ts";
import { mountStates } from "./status.ts";
import { renderMeasured } from "./measured-metrics.ts";
import { readProcessUse } from "./process-use.ts";
import type { ChangeStatus, ExchangeOutcome, LauncherStatus, Recovery } from "./status.ts";

/** The launcher's metrics; docs/metrics.md lists them all, and a test compares the two. */
export interface Metrics {
	/** Counts a failure; `mount` is the mount's name, or "" where the failure is of the launcher or of its config as a whole. */
	countError(mount: string, code: ErrorCode): void;
	/** Counts a mount that was aborted although it was busy: writes may be lost. */
	countForcedAbort(mount: string): void;
	/** Counts a config file that was read because it was written anew. */
	countReload(result: "applied" | "unchanged" | "rejected"): void;
	/** Counts a change of a mount: made, not possible for now, or overtaken by another one. */
	countChange(change: ChangeStatus["change"], result: "done" | "refused" | "superseded"): void;
	/** Counts a mount that got another process by `fluid-fuse reload`, or kept the one it had. */
	countExchange(mount: string, result: ExchangeOutcome["kind"]): void;
	/** Time from the start of a driver until its mount was ready. */
	observeStart(driver: string, seconds: number): void;
	/** Time that applications waited for a process in place of one that had died. */
	observeRecovery(mount: string, kind: Recovery["kind"], seconds: number): void;
	/** All metrics in Prometheus' text format. */
	render(): Promise<string>;
}

export const metricsContentType: string = Registry.PROMETHEUS_CONTENT_TYPE;

/** Metrics on a registry of their own. What `status` knows is read when it is scraped, so nothing has to be kept in step and nothing runs between scrapes. */
export function createMetrics(status: () => LauncherStatus | Promise<LauncherStatus>): Metrics {
	const registry = new Registry();
	const registers = [registry];
	const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[] = []) =>
		new Counter({ name: `fluid_fuse_${name}`, help, labelNames, registers });
	const gauge = <Label extends string>(name: string, help: string, labelNames: readonly Label[] = []) =>
		new Gauge({ name: `fluid_fuse_${name}`, help, labelNames, registers });

	const buildInfo = gauge("build_info", "Always 1; the labels tell the versions.", ["version", "node"]);
	const datasetInfo = gauge("dataset_info", "Always 1; the labels tell the Dataset.", ["namespace", "dataset"]);
	const ready = gauge("ready", "1 while /readyz answers 200.");
	const warnings = gauge("warnings", "Problems of the pod itself, as /status lists them.");
	const mountState = gauge("mount_state", "1 for the state the mount is in, 0 for the others.", [
		"mount",
		"driver",
		"state",
	]);
	const mountReady = gauge("mount_ready", "1 while the mount is ours and answers.", ["mount"]);
	const mountRestarts = counter(
		"mount_restarts_total",
		"Times the driver was started again after it had ended or hung.",
		["mount", "driver"],
	);
	const mountLayers = gauge("mount_layers", "Mounts of ours stacked at the target.", ["mount"]);
	const answerAge = gauge("mount_answer_age_seconds", "Time since the mount last answered a statfs.", ["mount"]);
	const mountTroubles = gauge(
		"mount_troubles",
		"What is wrong with what the driver uses, such as a disk, and does not keep it from serving.",
		["mount"],
	);
	const backendOk = gauge("backend_ok", "1 if the last signed check of the bucket passed.", ["mount"]);
	const refusals = counter(
		"refusals_total",
		"Requests that the server has refused for good, or failed to answer for too long, by the server's code.",
		["mount", "code"],
	);
	const concessions = gauge(
		"server_concession",
		"1 for each thing that the server lacks or does wrong, and that is done without.",
		["mount", "concession"],
	);
	const droppedLines = counter("driver_dropped_lines_total", "Log lines of the driver that were not kept.", ["mount"]);
	const driverCpu = counter("driver_cpu_seconds_total", "CPU time of the driver's process.", ["mount", "mode"]);
	const busiestThread = counter(
		"driver_busiest_thread_cpu_seconds_total",
		"CPU time of that thread of the driver's process that has used most of it.",
		["mount"],
	);
	const driverMemory = gauge("driver_resident_memory_bytes", "Memory of the driver's process.", ["mount"]);
	const driverOpenFiles = gauge("driver_open_fds", "File descriptors that the driver's process holds.", ["mount"]);
	const driverIo = counter(
		"driver_io_bytes_total",
		"Bytes that the driver's process has read and written, sockets and /dev/fuse included.",
		["mount", "direction"],
	);
	const ofProcess = [driverCpu, busiestThread, driverMemory, driverOpenFiles, driverIo];
	const errors = counter("errors_total", "Failures by code.", ["mount", "code"]);
	const forcedAborts = counter("forced_aborts_total", "Writable mounts aborted while busy: writes may be lost.", [
		"mount",
	]);
	const reloads = counter("config_reload_total", "Times the config file was written anew, by what came of it.", [
		"result",
	]);
	for (const result of ["applied", "unchanged", "rejected"] as const) reloads.inc({ result }, 0);
	const changes = counter("changes_total", "Changes of mounts while applications run, by what came of them.", [
		"change",
		"result",
	]);
	for (const change of ["mount", "unmount", "change", "rename"] as const)
		for (const result of ["done", "refused", "superseded"] as const) changes.inc({ change, result }, 0);
	const exchanges = counter(
		"exchanges_total",
		"Exchanges of a mount's process by fluid-fuse reload, by what came of them.",
		["mount", "result"],
	);
	const configOk = gauge("config_ok", "1 while what runs is what the config file says.");
	const configHash = gauge("config_hash", "The first 48 bits of the hash of the applied config, as a number.");
	const configApplied = gauge("config_applied_time_seconds", "When another config was applied, in Unix time.");
	const starts = new Histogram({
		name: "fluid_fuse_mount_start_seconds",
		help: "Time from the start of a driver until its mount was ready.",
		labelNames: ["driver"],
		buckets: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120],
		registers,
	});
	const recoveries = new Histogram({
		name: "fluid_fuse_recovery_seconds",
		help: "Time from a driver's end until applications could go on, by how that was.",
		labelNames: ["mount", "kind"],
		buckets: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
		registers,
	});

	// Not collectDefaultMetrics: its event loop monitor wakes the process a hundred times a second.
	const startTime = gauge("launcher_start_time_seconds", "When the launcher started, in Unix time.");
	const cpu = counter("launcher_cpu_seconds_total", "CPU time of the launcher without its children.", ["mode"]);
	const residentMemory = gauge("launcher_resident_memory_bytes", "Memory of the launcher without its children.");
	const heapUsed = gauge("launcher_heap_used_bytes", "Part of that memory that JavaScript objects use.");
	const openFiles = gauge("launcher_open_fds", "File descriptors that the launcher holds.");
	const loopBusy = counter(
		"launcher_event_loop_busy_seconds_total",
		"Time in which the launcher could not answer because it was computing.",
	);

	function read(now: LauncherStatus): void {
		buildInfo.set({ version: now.version, node: process.versions.node }, 1);
		if (now.dataset !== undefined) datasetInfo.set({ namespace: now.dataset.namespace, dataset: now.dataset.name }, 1);
		ready.set(checkHealth("readyz", now).ok ? 1 : 0);
		warnings.set(now.warnings.length);
		configOk.set(now.config?.state === "applied" ? 1 : 0);
		if (now.config !== undefined) {
			configHash.set(Number.parseInt(now.config.hash.slice(0, 12), 16));
			configApplied.set(Date.parse(now.config.appliedAt) / 1000);
		}
		for (const metric of [
			mountState,
			mountReady,
			mountRestarts,
			mountLayers,
			answerAge,
			mountTroubles,
			backendOk,
			refusals,
			concessions,
			droppedLines,
			...ofProcess,
		])
			metric.reset();
		const pids = new Set<number>();
		for (const { name: mount, driver, ...facts } of now.mounts) {
			for (const state of mountStates) mountState.set({ mount, driver, state }, state === facts.state ? 1 : 0);
			mountReady.set({ mount }, facts.ready ? 1 : 0);
			mountRestarts.inc({ mount, driver }, facts.restarts);
			mountLayers.set({ mount }, facts.layers);
			if (facts.answeredSecondsAgo !== undefined) answerAge.set({ mount }, facts.answeredSecondsAgo);
			mountTroubles.set({ mount }, facts.troubles?.length ?? 0);
			if (facts.backend !== undefined) backendOk.set({ mount }, facts.backend.ok ? 1 : 0);
			for (const [code, count] of Object.entries(facts.refusals?.counts ?? {})) refusals.inc({ mount, code }, count);
			for (const { name: concession } of facts.concessions ?? []) concessions.set({ mount, concession }, 1);
			droppedLines.inc({ mount }, facts.droppedLines);
			// One process may serve several.
			const used = facts.pid === undefined || pids.has(facts.pid) ? undefined : readProcessUse(facts.pid);
			if (used !== undefined && facts.pid !== undefined) {
				pids.add(facts.pid);
				driverCpu.inc({ mount, mode: "user" }, used.userSeconds);
				driverCpu.inc({ mount, mode: "system" }, used.systemSeconds);
				busiestThread.inc({ mount }, used.busiestThreadSeconds);
				driverMemory.set({ mount }, used.residentBytes);
				driverOpenFiles.set({ mount }, used.openFiles);
				driverIo.inc({ mount, direction: "read" }, used.readBytes);
				driverIo.inc({ mount, direction: "write" }, used.writtenBytes);
			}
			// A counter that appears with its first abort shows no increase to an alert.
			forcedAborts.inc({ mount }, 0);
		}
		startTime.set(Date.parse(now.startedAt) / 1000);
	}

	function readProcess(): void {
		const { user, system } = process.cpuUsage();
		cpu.reset();
		cpu.inc({ mode: "user" }, user / 1e6);
		cpu.inc({ mode: "system" }, system / 1e6);
		const { rss, heapUsed: usedBytes } = process.memoryUsage();
		residentMemory.set(rss);
		heapUsed.set(usedBytes);
		openFiles.set(countOpenFiles());
		loopBusy.reset();
		loopBusy.inc(performance.eventLoopUtilization().active / 1000);
	}

	return {
		countError: (mount, code) => errors.inc({ mount, code }),
		countForcedAbort: (mount) => forcedAborts.inc({ mount }),
		countReload: (result) => reloads.inc({ result }),
		countChange: (change, result) => changes.inc({ change, result }),
		countExchange: (mount, result) => exchanges.inc({ mount, result }),
		observeRecovery: (mount, kind, seconds) => recoveries.observe({ mount, kind }, seconds),
		observeStart: (driver, seconds) => starts.observe({ driver }, seconds),
		async render() {
			const now = await status();
			read(now);
			readProcess();
			const measured = new Map(now.mounts.flatMap(({ name, measured }) => (measured ? [[name, measured]] : [])));
			return `${await registry.metrics()}\n${renderMeasured(measured)}`;
		},
	};
}

function countOpenFiles(): number {
	// Synchronous, because it is procfs and must not wait behind a thread that hangs in a mount. One of the entries is the listing itself.
	return readdirSync("/proc/self/fd").length - 1;
}
