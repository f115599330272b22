import type { Environment } from "../config/environment.ts";
import { parseFluidFile } from "../config/load.ts";
import { planMounts, type PlannedMount } from "../config/plan.ts";
import type { Driver } from "../drivers/driver.ts";
import { LauncherError } from "../errors.ts";
import { ConfigError } from "../options/faults.ts";
import type { LoadedDrivers } from "../vendor/load.ts";
import { dataset, pod, profile, runtime, secret, type Wanted } from "./manifest-kinds.ts";
import { optionsIn } from "./option-words.ts";
import type { Output } from "./output.ts";
import { toYaml, type Yaml } from "./yaml.ts";

export interface ManifestFlags {
	readonly name: string | undefined;
	readonly namespace: string | undefined;
	readonly endpoint: string | undefined;
	readonly region: string | undefined;
	readonly option: readonly string[];
	readonly secret: string | undefined;
	readonly "keys-from-env": boolean;
	readonly "read-write": boolean;
	readonly profile: string | undefined;
	readonly image: string | undefined;
	readonly driver: string | undefined;
	readonly "cache-dir": string | undefined;
	readonly memory: string | undefined;
	readonly metrics: boolean;
}

interface Surroundings {
	readonly environment: Environment;
	readonly variables: NodeJS.ProcessEnv;
	readonly drivers: LoadedDrivers;
}

/** The manifests, by the names of the examples' files. */
export type Manifests = Readonly<Partial<Record<"profile" | "secret" | "dataset" | "runtime" | "pod", string>>>;

/** Prints what Fluid needs to serve a bucket, and an application that uses it. Returns 0. Throws USAGE and CONFIG_INVALID. */
export async function printManifests(
	[source = ""]: readonly string[],
	flags: ManifestFlags,
	surroundings: Surroundings,
	output: Output,
): Promise<number> {
	const manifests = await manifestsFor(source, flags, surroundings);
	if (flags.image === undefined && flags.profile === undefined)
		output.err("The image is a placeholder: name yours with --image. None is published yet (docs/images.md).\n");
	if (flags.secret === undefined && !flags["keys-from-env"])
		output.err("There is no --secret and no --keys-from-env: the storage pod signs as itself (docs/options.md).\n");
	output.out(Object.values(manifests).join("---\n"));
	return 0;
}

/** Throws USAGE and CONFIG_INVALID: what is printed, the launcher would take. */
export async function manifestsFor(
	source: string,
	flags: ManifestFlags,
	{ environment, variables, drivers: { drivers } }: Surroundings,
): Promise<Manifests> {
	const name = flags.name ?? nameOf(source);
	requireName("name", name);
	for (const flag of ["namespace", "secret", "profile"] as const) {
		const given = flags[flag];
		if (given !== undefined) requireName(flag, given);
	}
	const options = {
		...(flags.endpoint !== undefined && { endpoint: flags.endpoint }),
		...(flags.region !== undefined && { region: flags.region }),
		...(flags.memory !== undefined && { memory: flags.memory }),
		...(flags["cache-dir"] !== undefined && { "cache-dir": flags["cache-dir"] }),
		...optionsIn(flags.option, drivers, environment.FLUID_FUSE_SECRETS_DIR),
	};
	const keys = keysOf(name, flags, variables);
	const { driver } = await accepted(source, { options, keys, flags }, { environment, drivers });
	const [first] = drivers;
	const wanted: Wanted = {
		source,
		name,
		namespace: flags.namespace,
		options,
		keys,
		isWritten: flags["read-write"],
		profile: flags.profile,
		image: imageOf(flags, driver),
		driver: driver === first ? undefined : driver.name,
		fileSystemType: typeOf(driver),
		cacheDirectory: flags["cache-dir"],
		memory: memoryOf(options.memory),
		isScraped: flags.metrics,
	};
	const all: Readonly<Record<string, Yaml | undefined>> = {
		profile: flags.profile === undefined ? profile(wanted) : undefined,
		secret: secret(wanted),
		dataset: dataset(wanted),
		runtime: runtime(wanted),
		pod: pod(wanted),
	};
	return Object.fromEntries(
		Object.entries(all).flatMap(([kind, value]) => (value === undefined ? [] : [[kind, toYaml(value)]])),
	);
}

/** Of Kubernetes: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names */
const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

function requireName(flag: string, name: string): void {
	if (label.test(name)) return;
	throw new LauncherError("USAGE", `--${flag} ${JSON.stringify(name)}: not a name of Kubernetes`, {
		hint: "Small letters, digits and hyphens, 63 at the most.",
	});
}

/** The bucket's, as far as Kubernetes takes it. */
function nameOf(source: string): string {
	const [, bucket = ""] = /^(?:[a-z][a-z0-9+.-]*:\/\/)?([^/]*)/i.exec(source) ?? [];
	return bucket.toLowerCase().replaceAll(/[^a-z0-9-]+/g, "-");
}

function keysOf(name: string, flags: ManifestFlags, variables: NodeJS.ProcessEnv): Wanted["keys"] {
	const { secret: given, "keys-from-env": fromEnvironment } = flags;
	if (given !== undefined && fromEnvironment)
		throw new LauncherError("USAGE", "--secret and --keys-from-env: the keys stand in one place, choose it");
	if (given !== undefined) return { secret: given };
	if (!fromEnvironment) return undefined;
	const accessKey = variables["AWS_ACCESS_KEY_ID"];
	const secretKey = variables["AWS_SECRET_ACCESS_KEY"];
	const token = variables["AWS_SESSION_TOKEN"];
	if (!accessKey || !secretKey) {
		throw new LauncherError("USAGE", "--keys-from-env: AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is not set", {
			hint: "Export both, or name a Secret that is there with --secret.",
		});
	}
	const values = { "access-key": accessKey, "secret-key": secretKey, ...(token ? { "session-token": token } : {}) };
	return { secret: `${name}-secret`, values };
}

/** The mount as the launcher would plan it. Throws all that it would refuse. */
async function accepted(
	mountPoint: string,
	{ options, keys, flags }: { options: Record<string, string>; keys: Wanted["keys"]; flags: ManifestFlags },
	context: { readonly environment: Environment; readonly drivers: readonly Driver[] },
): Promise<PlannedMount> {
	const cited = keys === undefined ? [] : Object.keys(keys.values ?? { "access-key": "", "secret-key": "" });
	const secrets = cited.map((key) => [key, `/etc/fluid/secrets/${keys?.secret}/${key}`] as const);
	const chosen = flags.driver === undefined ? {} : { driver: flags.driver };
	const file = {
		mounts: [{ mountPoint, options: { ...options, ...chosen, ...Object.fromEntries(secrets) } }],
		targetPath: "/data",
		accessModes: [flags["read-write"] ? "ReadWriteMany" : "ReadOnlyMany"],
	};
	const loaded = parseFluidFile(JSON.stringify(file), "the command line");
	const { refused, mounts } = planMounts(loaded, { ...context, onSecret: () => undefined });
	const [fault] = refused;
	const [mount] = mounts;
	if (fault !== undefined || mount === undefined) throw new ConfigError(fault?.faults ?? [], "the command line");
	// Its secrets are in the cluster.
	await mount.inspect();
	return mount;
}

function imageOf({ image }: ManifestFlags, { name }: Driver): Wanted["image"] {
	if (image === undefined) {
		const ending = name === "native" ? "" : `-${name}`;
		return { name: `<your-registry>/fluid-fuse${ending}`, tag: "<tag>" };
	}
	// A registry may have a port.
	const [, repository = image, tag = "latest"] = /^(.*?)(?::([\w][\w.-]{0,127}))?$/.exec(image) ?? [];
	return { name: repository, tag };
}

/** What is a part of each type that the kernel may list its mounts under: Fluid looks for that. */
function typeOf({ filesystemTypes }: Driver): string {
	const common = filesystemTypes.find((type) => filesystemTypes.every((other) => other.includes(type)));
	return common ?? "fuse";
}

/** As docs/install.md has it: parts of objects may take a quarter of the limit. */
function memoryOf(memory: string | undefined): Wanted["memory"] {
	// What is after the number is a unit, or an exponent.
	const [, amount = "", unit = ""] = /^(\d+(?:\.\d+)?)(.*)$/.exec(memory ?? "") ?? [];
	if (amount === "") return { request: "512Mi", limit: "2Gi" };
	const times = (factor: number): string => {
		const product = Number(amount) * factor;
		return unit === "Mi" && product % 1024 === 0 ? `${product / 1024}Gi` : `${product}${unit}`;
	};
	return { request: times(2), limit: times(4) };
}
