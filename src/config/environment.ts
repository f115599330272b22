import * as z from "zod";
import { LauncherError } from "../errors.ts";
import { didYouMean } from "../options/faults.ts";

/** A duration such as `25s`, kept in milliseconds. */
function duration(minimumMs: number, maximumMs: number, expected: string) {
	return z
		.string()
		.regex(/^\d+(\.\d+)?(ms|s|m|h)$/, `expected ${expected}`)
		.transform((text) => {
			const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[text.replace(/^[\d.]+/, "")] ?? 1;
			return Math.round(Number.parseFloat(text) * unit);
		})
		.refine((value) => value >= minimumMs && value <= maximumMs, `expected ${expected}`);
}

const absolutePath = z.string().regex(/^\/[^\0]*$/, "expected an absolute path");

/** Where an image has its vendor's driver files. */
export const defaultDriversDirectory = "/opt/fluid-fuse/drivers";

/** Every variable that the launcher reads; docs/options.md has the same table and a test compares the two. */
const schema = z.object({
	FLUID_FUSE_CONFIG: absolutePath
		.optional()
		.describe("The config file; else the first that exists of Fluid's own places."),
	FLUID_FUSE_SECRETS_DIR: absolutePath.default("/etc/fluid/secrets").describe("Where the secrets are mounted."),
	FLUID_FUSE_DRIVER: z.string().min(1).optional().describe("The driver for mounts that do not choose one themselves."),
	FLUID_FUSE_DRIVERS_DIR: absolutePath
		.default(defaultDriversDirectory)
		.describe("The folder with driver files of your own: docs/vendors.md."),
	FLUID_FUSE_LAYOUT: z
		.enum(["auto", "root", "named"])
		.default("auto")
		.describe("root: the only mount is at targetPath. named: each below it. auto: root for one mount, else named."),
	FLUID_FUSE_RUN_DIR: absolutePath
		.default("/run/fluid-fuse")
		.describe("Sockets, credentials and staging; made with mode 0700, best a tmpfs."),
	FLUID_FUSE_NODE_PROC: absolutePath
		.default("/host/proc")
		.describe("The node's /proc, read-only: it tells who uses the volume at the end."),
	FLUID_FUSE_PROBE_ADDRESS: z
		.string()
		.default(":9180")
		.describe(
			"Where HTTP probes are answered: HOST:PORT, :PORT, unix:/path or off. A socket in RUN_DIR always answers too.",
		),
	FLUID_FUSE_TERMINATION_LOG: absolutePath
		.default("/dev/termination-log")
		.describe("Where Kubernetes looks for the reason of an exit."),
	FLUID_FUSE_STOP_TIMEOUT: duration(2000, 600_000, "a duration from 2s to 10m")
		.prefault("25s")
		.describe("From the pod's deletion to the end, at the most: 2s to 10m; 5s below its grace period."),
	FLUID_FUSE_HANG_TIMEOUT: duration(5000, 3_600_000, "a duration from 5s to 1h")
		.prefault("60s")
		.describe(
			"A mount that answers nothing for so long is aborted and started again, a native process that does not run on after half of it: 5s to 1h.",
		),
	FLUID_FUSE_AFTER_CRASH: z
		.enum(["restart", "continue"])
		.default("restart")
		.describe(
			"What follows when a native process dies. restart: another mount over the dead one, and errors for what was open. continue: where it can, another process under the same mount; see SEMANTICS.md.",
		),
	FLUID_FUSE_LOG_LEVEL: z
		.enum(["trace", "debug", "info", "warn", "error", "fatal"])
		.default("info")
		.describe(
			"What is logged: debug adds each request of the native driver to the server and what its cache on disk has, trace what the kernel asks for.",
		),
	FLUID_FUSE_SCRIPT: absolutePath.default("/opt/mount.sh").describe("The program of the driver script."),
	FLUID_RUNTIME_CONFIG_PATH: absolutePath.optional().describe("Set by Fluid's CacheRuntime: the config file."),
	FLUID_RUNTIME_MOUNT_PATH: absolutePath
		.optional()
		.describe("Set by Fluid's CacheRuntime: targetPath, used where there is no MOUNT_POINT."),
	FLUID_RUNTIME_COMPONENT_TYPE: z
		.literal("client", {
			error:
				"fluid-fuse is the client of a CacheRuntime and nothing else: set master.disabled and worker.disabled to true in the CacheRuntime",
		})
		.optional()
		.describe("Set by Fluid's CacheRuntime: anything but client is refused."),
	FLUID_DATASET_NAME: z
		.string()
		.optional()
		.describe("Set by Fluid's CacheRuntime: the Dataset, for status and metrics."),
	FLUID_DATASET_NAMESPACE: z.string().optional().describe("Set by Fluid's CacheRuntime: the Dataset's namespace."),
	FLUID_RUNTIME_NAME: z
		.string()
		.optional()
		.describe("Set by Fluid's ThinRuntime: its name, which is the Dataset's too."),
	FLUID_RUNTIME_NS: z.string().optional().describe("Set by Fluid's ThinRuntime: its namespace."),
	MOUNT_POINT: absolutePath.optional().describe("Set by Fluid: targetPath, used where the config has none."),
	MOUNT_OPTIONS: z
		.string()
		.optional()
		.describe("Set by Fluid: the profile's options as k=v,k,…; below runtimeOptions."),
});

export type Environment = Readonly<z.output<typeof schema>>;

export interface DatasetName {
	readonly namespace: string;
	readonly name: string;
}

/** The Dataset that Fluid made this pod for; its runtime has the same name. */
export function datasetOf(environment: Environment): DatasetName | undefined {
	const { FLUID_RUNTIME_NAME, FLUID_RUNTIME_NS = "" } = environment;
	const { FLUID_DATASET_NAME: name = FLUID_RUNTIME_NAME, FLUID_DATASET_NAMESPACE: namespace = FLUID_RUNTIME_NS } =
		environment;
	return name === undefined ? undefined : { namespace, name };
}

/** What kubelet sets for a Service named fluid-fuse-…: not meant for us. */
const serviceLink = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;

export const environmentVariables: Readonly<Record<string, z.ZodType>> = schema.shape;

/** Reads the process's environment. All faults at once; an unknown FLUID_FUSE_ variable is one. */
export function parseEnvironment(variables: NodeJS.ProcessEnv): Environment {
	const faults: string[] = [];
	for (const name of Object.keys(variables)) {
		if (name.startsWith("FLUID_FUSE_") && !Object.hasOwn(schema.shape, name) && !serviceLink.test(name)) {
			faults.push(`${name}: unknown environment variable${didYouMean(name, Object.keys(schema.shape))}`);
		}
	}
	// An empty variable is how a manifest unsets one.
	const given = Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== ""));
	const parsed = schema.safeParse(given);
	for (const issue of parsed.error?.issues ?? []) {
		faults.push(`${issue.path.join(".")}: ${issue.message}, found ${JSON.stringify(variables[String(issue.path[0])])}`);
	}
	if (parsed.data === undefined || faults.length > 0) {
		throw new LauncherError("USAGE", faults.join("\n"), { hint: "docs/options.md lists the environment variables." });
	}
	const { MOUNT_POINT = parsed.data.FLUID_RUNTIME_MOUNT_PATH } = parsed.data;
	return { ...parsed.data, ...(MOUNT_POINT !== undefined && { MOUNT_POINT }) };
}
