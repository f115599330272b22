import { describe, expect, it } from "vitest";
import { environmentVariables, parseEnvironment } from "../../src/config/environment.ts";
import { LauncherError } from "../../src/errors.ts";

function faultsOf(variables: Record<string, string>): string[] {
	try {
		parseEnvironment(variables);
		return [];
	} catch (error) {
		if (!(error instanceof LauncherError) || error.code !== "USAGE") throw error;
		return error.message.split("\n");
	}
}

describe("parseEnvironment", () => {
	it("has a default for everything that Fluid does not set", () => {
		expect(parseEnvironment({})).toEqual({
			FLUID_FUSE_SECRETS_DIR: "/etc/fluid/secrets",
			FLUID_FUSE_DRIVERS_DIR: "/opt/fluid-fuse/drivers",
			FLUID_FUSE_LAYOUT: "auto",
			FLUID_FUSE_RUN_DIR: "/run/fluid-fuse",
			FLUID_FUSE_NODE_PROC: "/host/proc",
			FLUID_FUSE_PROBE_ADDRESS: ":9180",
			FLUID_FUSE_TERMINATION_LOG: "/dev/termination-log",
			FLUID_FUSE_STOP_TIMEOUT: 25_000,
			FLUID_FUSE_HANG_TIMEOUT: 60_000,
			FLUID_FUSE_AFTER_CRASH: "restart",
			FLUID_FUSE_SCRIPT: "/opt/mount.sh",
			FLUID_FUSE_LOG_LEVEL: "info",
		});
	});

	it("takes an empty variable as one that is not set", () => {
		const empty = Object.fromEntries(Object.keys(environmentVariables).map((name) => [name, ""]));
		expect(parseEnvironment(empty)).toEqual(parseEnvironment({}));
	});

	it("ignores the variables of others", () => {
		expect(parseEnvironment({ PATH: "/bin", FLUID_RUNTIME_TYPE: "thin", HOME: "/root" })).toEqual(parseEnvironment({}));
	});

	it("reports an unknown FLUID_FUSE_ variable with the nearest name", () => {
		expect(faultsOf({ FLUID_FUSE_LOGLEVEL: "debug" })).toEqual([
			'FLUID_FUSE_LOGLEVEL: unknown environment variable (did you mean "FLUID_FUSE_LOG_LEVEL"?)',
		]);
		expect(faultsOf({ FLUID_FUSE_: "x" })[0]).toContain("FLUID_FUSE_: unknown environment variable");
	});

	it("ignores what kubelet sets for a Service whose name begins with fluid-fuse", () => {
		expect(
			faultsOf({
				FLUID_FUSE_SERVICE_HOST: "10.0.0.1",
				FLUID_FUSE_SERVICE_PORT: "9180",
				FLUID_FUSE_METRICS_SERVICE_PORT_HTTP: "9180",
				FLUID_FUSE_PORT: "tcp://10.0.0.1:9180",
				FLUID_FUSE_METRICS_PORT_9180_TCP: "tcp://10.0.0.1:9180",
				FLUID_FUSE_METRICS_PORT_9180_TCP_PROTO: "tcp",
				FLUID_FUSE_METRICS_PORT_9180_TCP_PORT: "9180",
				FLUID_FUSE_METRICS_PORT_9180_TCP_ADDR: "10.0.0.1",
			}),
		).toEqual([]);
	});

	it("reports all faults at once, each with the variable and what was found", () => {
		expect(
			faultsOf({
				FLUID_FUSE_CONFIG: "config.json",
				FLUID_FUSE_LAYOUT: "flat",
				FLUID_FUSE_STOP_TIMEOUT: "25",
				FLUID_FUSE_HANG_TIMEOUT: "1s",
				FLUID_FUSE_LOG_LEVEL: "verbose",
				FLUID_FUSE_DRIVERS: "s3fs",
				MOUNT_POINT: "relative",
			}),
		).toEqual([
			'FLUID_FUSE_DRIVERS: unknown environment variable (did you mean "FLUID_FUSE_DRIVER"?)',
			'FLUID_FUSE_CONFIG: expected an absolute path, found "config.json"',
			expect.stringMatching(/^FLUID_FUSE_LAYOUT: .*"auto".*"root".*"named".*, found "flat"$/),
			'FLUID_FUSE_STOP_TIMEOUT: expected a duration from 2s to 10m, found "25"',
			'FLUID_FUSE_HANG_TIMEOUT: expected a duration from 5s to 1h, found "1s"',
			expect.stringMatching(/^FLUID_FUSE_LOG_LEVEL: .*"info".*, found "verbose"$/),
			'MOUNT_POINT: expected an absolute path, found "relative"',
		]);
	});

	it("reads durations in ms, s, m and h, and bounds them", () => {
		const stop = (text: string): number => parseEnvironment({ FLUID_FUSE_STOP_TIMEOUT: text }).FLUID_FUSE_STOP_TIMEOUT;
		expect(stop("2500ms")).toBe(2500);
		expect(stop("2s")).toBe(2000);
		expect(stop("1.5m")).toBe(90_000);
		expect(stop("0.1h")).toBe(360_000);
		for (const wrong of [
			"1999ms",
			"11m",
			"-5s",
			"5",
			"5 s",
			"5S",
			"1e3ms",
			"s",
			"0x10s",
			"25s\n",
			`${"9".repeat(400)}s`,
		]) {
			expect(faultsOf({ FLUID_FUSE_STOP_TIMEOUT: wrong }), wrong).toHaveLength(1);
		}
	});

	it("refuses a path with a NUL", () => {
		expect(faultsOf({ FLUID_FUSE_RUN_DIR: "/run/a\0b" })).toHaveLength(1);
	});
});
