import { describe, expect, it } from "vitest";
import { renderStatus, status } from "../../src/cli/status.ts";
import { parseEnvironment } from "../../src/config/environment.ts";
import { createRunDirectory, startServer } from "../probe/running-server.ts";
import { accessDenied, concession, refusal, sampleMount, sampleStatus } from "../probe/sample-status.ts";
import { captured } from "./captured.ts";

const show = async (runDirectory: string, json: boolean) => {
	const environment = parseEnvironment({ FLUID_FUSE_RUN_DIR: runDirectory });
	return captured((output) => status(environment, { json, watch: false }, output));
};

/** Of sample-status.ts: the mount became ready then. */
const since = Date.parse("2026-07-31T03:00:00.000Z");
const secondsLater = (seconds: number): Date => new Date(since + seconds * 1000);

describe("status", () => {
	it("shows a mount as a block", () => {
		expect(renderStatus(sampleStatus(), secondsLater(11_530))).toBe(
			[
				"fluid-fuse 1.2.3: running for 3h 13m, pid 7",
				"  config  /etc/fluid/config/config.json",
				"  target  /runtime-mnt/thin/default/training/thin-fuse",
				"  mounts  1 of 1 ready",
				"",
				"data: ready for 3h 12m",
				"  source    s3://training/data",
				"  target    /runtime-mnt/thin/default/training/thin-fuse/data",
				"  driver    goofys, read-only",
				"  process   pid 42, 0 restarts, 1 layer",
				"  answered  0s ago",
				"",
			].join("\n"),
		);
	});

	it("shows what of the node cannot be seen", () => {
		expect(
			renderStatus(sampleStatus({ unseen: "who uses the volume: mount the node's /proc" }), secondsLater(1)),
		).toContain("  unseen  who uses the volume: mount the node's /proc\n");
	});

	it("shows what the server refused last, and how often it did", () => {
		const mount = sampleMount({ refusals: { counts: { AccessDenied: 2, InvalidObjectState: 1 }, last: refusal } });
		expect(renderStatus(sampleStatus({ mounts: [mount] }), secondsLater(120))).toContain(
			[
				"  refused   InvalidObjectState, 1m ago, 3 in all",
				"            GetObject old.bin: InvalidObjectState (The operation is not valid.)",
				"            Restore it.",
				"",
			].join("\n"),
		);
	});

	it("shows what the server lacks, and what has shown it", () => {
		const mount = sampleMount({ concessions: [concession] });
		expect(renderStatus(sampleStatus({ mounts: [mount] }), secondsLater(120))).toContain(
			[
				"  without   The server does not know If-Match for reads.",
				"            for 1m: GetObject old.bin: NotImplemented",
				"",
			].join("\n"),
		);
	});

	it("shows the code of a config that was rejected, why, and what to do", () => {
		const error = { ...accessDenied, code: "CHANGE_REFUSED" as const, message: "it would move", hint: "Do this." };
		const config = { state: "rejected" as const, hash: "ab", appliedAt: "2026-07-31T03:00:00.000Z", error };
		const shown = renderStatus(sampleStatus({ config }), secondsLater(120));
		expect(shown).toMatch(/rejected: CHANGE_REFUSED: it would move\n +Do this\.\n +still in use: /);
	});

	it("shows what Fluid did not bring to the pod", () => {
		const mount = sampleMount({ withoutEffect: "accessModes is another now" });
		expect(renderStatus(sampleStatus({ mounts: [mount] }), secondsLater(120))).toContain(
			"  no effect  accessModes is another now\n",
		);
	});

	it("shows why a mount is not ready, what to do, and when it is tried again", () => {
		const failed = sampleMount({
			name: "weights",
			state: "failed",
			ready: false,
			readOnly: false,
			restarts: 3,
			lastRecovery: { kind: "remounted", seconds: 1.26, at: "2026-07-31T03:00:30.000Z" },
			layers: 2,
			reason: accessDenied.message,
			lastError: accessDenied,
			backend: { ok: false, checkedAt: "2026-07-31T03:01:30.000Z" },
			retryAt: "2026-07-31T03:02:05.000Z",
			droppedLines: 12,
		});
		const { pid: _pid, answeredSecondsAgo: _answered, ...gone } = failed;
		const text = renderStatus(
			sampleStatus({
				mounts: [
					sampleMount({
						state: "degraded",
						reason: "the bucket does not answer",
						troubles: [{ about: "disk of cache", message: "/cache is full", since: "2026-07-31T03:01:00.000Z" }],
					}),
					gone,
				],
				warnings: ["set mountPropagation"],
			}),
			secondsLater(120),
		);
		expect(text).toContain("  mounts   1 of 2 ready\n  warning  set mountPropagation\n");
		expect(text).toContain("data: degraded, ready for 2m\n");
		expect(text).toMatch(/^ {2}trouble +disk of cache, for 1m\n +\/cache is full$/m);
		expect(text).toContain("  reason    the bucket does not answer\n");
		expect(text.slice(text.indexOf("weights:"))).toBe(
			[
				"weights: failed, not ready for 2m",
				"  source   s3://training/weights",
				"  target   /runtime-mnt/thin/default/training/thin-fuse/weights",
				"  driver   goofys, read-write",
				"  process  no process, 3 restarts, 2 layers",
				"           mounted anew 1m 30s ago, 1.3 s after its end",
				"  backend  failing, checked 30s ago",
				"  log      12 lines of the driver dropped",
				"  error    ACCESS_DENIED, 2m ago",
				"           the key may not list training",
				"  hint     Allow it s3:ListBucket.",
				"  retry    in 5s",
				"",
			].join("\n"),
		);
	});

	it("says what is not known yet, and that the launcher is beyond repair", () => {
		const text = renderStatus(
			sampleStatus({ state: "starting", configFile: "", targetPath: "", mounts: [], alive: false }),
			secondsLater(-60),
		);
		expect(text).toBe(
			"fluid-fuse 1.2.3: starting for 0s, pid 7, beyond repair\n  config  not read yet\n  target  not known yet\n  mounts  0 of 0 ready\n",
		);
	});

	it("keeps long messages readable and lets none of them drive the terminal", () => {
		const message = "config.json: 2 faults\n  mounts[0].name: wrong\n  mounts[1].name: wrong\u001B[2J\u202E";
		const lastError = { ...accessDenied, message };
		const text = renderStatus(
			sampleStatus({ mounts: [sampleMount({ name: "x\u001B[31m", ready: false, state: "failed", lastError })] }),
			secondsLater(5),
		);
		expect(text).toContain("\n              mounts[0].name: wrong\n              mounts[1].name: wrong");
		for (const character of "\u001B\u202E") expect(text).not.toContain(character);
	});

	it("writes durations in two units at the most", () => {
		const age = (seconds: number) => /ready for (.*)\n/.exec(renderStatus(sampleStatus(), secondsLater(seconds)))?.[1];
		expect([0, 59, 60, 61, 3600, 3661, 86_400, 90_061, 8_640_000].map(age)).toEqual([
			"0s",
			"59s",
			"1m",
			"1m 1s",
			"1h",
			"1h 1m",
			"1d",
			"1d 1h",
			"100d",
		]);
	});

	it("asks the running launcher", async () => {
		const { runDirectory } = await startServer({ listen: { kind: "off" } });
		expect(await show(runDirectory, false)).toMatchObject({
			exitCode: 0,
			err: "",
			out: expect.stringContaining("data: ready for"),
		});
		const { out } = await show(runDirectory, true);
		expect(JSON.parse(out)).toEqual(sampleStatus());
	});

	it("ends with 69 when none is there", async () => {
		expect(await show(await createRunDirectory(), true)).toEqual({
			exitCode: 69,
			out: "",
			err: expect.stringContaining("no launcher answers"),
		});
	});
});
