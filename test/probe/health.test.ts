import { describe, expect, it } from "vitest";
import { checkHealth, renderHealth } from "../../src/probe/health.ts";
import type { HealthEndpoint, RenderOptions } from "../../src/probe/health.ts";
import type { LauncherStatus, MountStatus } from "../../src/probe/status.ts";
import { mountStates } from "../../src/probe/status.ts";
import { accessDenied, sampleMount, sampleStatus } from "./sample-status.ts";

function render(endpoint: HealthEndpoint, status: LauncherStatus, options: Partial<RenderOptions> = {}) {
	return renderHealth(checkHealth(endpoint, status), { title: endpoint, verbose: false, exclude: [], ...options });
}

const broken = sampleMount({ name: "broken", state: "failed", ready: false, lastError: accessDenied });

describe("what decides", () => {
	const cases: [string, Partial<LauncherStatus>, { livez: boolean; readyz: boolean; startupz: boolean }][] = [
		["all well", {}, { livez: true, readyz: true, startupz: true }],
		["a dataset without mounts", { mounts: [] }, { livez: true, readyz: true, startupz: true }],
		[
			"a config that is not read yet",
			{ mounts: [], started: false, state: "starting" },
			{ livez: true, readyz: false, startupz: false },
		],
		["a mount that is not ready", { mounts: [sampleMount(), broken] }, { livez: true, readyz: false, startupz: true }],
		[
			"a mount that was added and has not been ready yet",
			{ mounts: [sampleMount(), { ...broken, joining: true }] },
			{ livez: true, readyz: true, startupz: true },
		],
		[
			"a mount that was removed and is still in use",
			{ mounts: [sampleMount(), { ...broken, leaving: true }] },
			{ livez: true, readyz: true, startupz: true },
		],
		["draining", { state: "draining" }, { livez: true, readyz: false, startupz: true }],
		["beyond repair", { alive: false }, { livez: false, readyz: true, startupz: true }],
		[
			"a problem of the pod",
			{ warnings: ["the mount propagation is private"] },
			{ livez: true, readyz: true, startupz: true },
		],
	];
	it.each(cases)("%s", (_name, changes, expected) => {
		const status = sampleStatus(changes);
		expect({
			livez: checkHealth("livez", status).ok,
			readyz: checkHealth("readyz", status).ok,
			startupz: checkHealth("startupz", status).ok,
		}).toEqual(expected);
		expect(checkHealth("healthz", status)).toEqual(checkHealth("livez", status));
	});

	it.each(mountStates)("a mount in state %s is judged by its ready flag, not by its state", (state) => {
		for (const ready of [true, false]) {
			expect(checkHealth("readyz", sampleStatus({ mounts: [sampleMount({ state, ready })] })).ok).toBe(ready);
		}
	});
});

describe("the text", () => {
	it("is a short ok when all is well", () => {
		expect(render("readyz", sampleStatus())).toEqual({ ok: true, text: "ok\n" });
	});

	it("lists every check with verbose, as kube-apiserver does", () => {
		expect(render("readyz", sampleStatus(), { verbose: true }).text).toBe(
			"[+]started ok\n[+]shutdown ok\n[+]mount/data ok\nreadyz check passed\n",
		);
	});

	it("prints what failed, and only that, without verbose", () => {
		expect(render("readyz", sampleStatus({ mounts: [sampleMount(), broken] }))).toEqual({
			ok: false,
			text: "[-]mount/broken failed: failed: ACCESS_DENIED: the key may not list training; Allow it s3:ListBucket.\nreadyz check failed\n",
		});
	});

	const reasons: [string, Partial<MountStatus>, string][] = [
		["nothing known", { state: "starting" }, "starting"],
		["a reason", { state: "recovering", reason: "goofys ended" }, "recovering: goofys ended"],
		[
			"a reason that is the error",
			{ state: "failed", reason: "the key may not list training", lastError: accessDenied },
			"failed: the key may not list training; ACCESS_DENIED; Allow it s3:ListBucket.",
		],
		[
			"the time of the next try",
			{ state: "recovering", reason: "goofys ended", retryAt: "2026-07-31T03:00:19Z" },
			"recovering: goofys ended; next try at 2026-07-31T03:00:19Z",
		],
	];
	it.each(reasons)("of a mount that is not ready tells %s", (_name, changes, reason) => {
		const status = sampleStatus({ mounts: [sampleMount({ ready: false, ...changes })] });
		expect(render("readyz", status).text).toContain(`[-]mount/data failed: ${reason}\n`);
	});

	it("tells why a mount that answers is degraded, and keeps it ready", () => {
		const status = sampleStatus({ mounts: [sampleMount({ state: "degraded", reason: "the bucket does not answer" })] });
		expect(render("readyz", status).text).toBe("ok\n");
		expect(render("readyz", status, { verbose: true }).text).toContain(
			"[+]mount/data ok (degraded: the bucket does not answer)\n",
		);
	});

	it("names the mounts that the start waits for", () => {
		const mounts = [sampleMount(), sampleMount({ name: "late", state: "starting", ready: false }), broken];
		expect(render("startupz", sampleStatus({ started: false, mounts })).text).toBe(
			"[-]started failed: not yet tried: late (starting)\nstartupz check failed\n",
		);
	});

	it("keeps a hostile name on its line", () => {
		const name = "x ok\n[+]mount/forged\r\u001B[2J\u2028\u202E";
		const { text } = render("readyz", sampleStatus({ mounts: [sampleMount({ name, ready: false, state: "failed" })] }));
		expect(text).toBe(
			String.raw`[-]mount/x ok\n[+]mount/forged\u000d\u001b[2J\u2028\u202e failed: failed` + "\nreadyz check failed\n",
		);
	});
});

describe("exclude", () => {
	const status = sampleStatus({ mounts: [sampleMount(), broken] });

	it("makes a failed check not count", () => {
		expect(render("readyz", status, { exclude: ["mount/broken"] })).toEqual({ ok: true, text: "ok\n" });
		expect(render("readyz", status, { exclude: ["mount/broken"], verbose: true }).text).toContain(
			"[+]mount/broken excluded: ok\n",
		);
	});

	it("warns about a name that does not exist, whether or not the rest passes", () => {
		const warning = 'warn: some health checks cannot be excluded: no matches for "mount/nope", "foo"\n';
		expect(render("readyz", sampleStatus(), { exclude: ["mount/nope", "foo"] })).toEqual({
			ok: true,
			text: `${warning}ok\n`,
		});
		const failing = render("readyz", status, { exclude: ["mount/nope", "foo"] });
		expect(failing.ok).toBe(false);
		expect(failing.text).toContain(warning);
	});
});
