import { goJson, secretPaths, unlessEmpty, type Dataset } from "./fluid-config.ts";

/** The part of a CacheRuntimeClass's pod template that tests look at: that of its first container. */
export interface ClientContainer {
	readonly command: readonly string[];
	readonly env: readonly { readonly name: string; readonly value: string }[];
	readonly securityContext: { readonly privileged: boolean };
	readonly startupProbe: unknown;
	readonly readinessProbe: unknown;
	readonly livenessProbe: unknown;
	readonly lifecycle: { readonly preStop: { readonly exec: { readonly command: readonly string[] } } };
	readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

export interface CacheRuntimeClass {
	readonly metadata: { readonly name: string };
	readonly fileSystemType: string;
	readonly topology: {
		readonly client: {
			readonly dependencies?: { readonly secretMount?: { readonly enabled: boolean } };
			readonly options?: Readonly<Record<string, string>>;
			readonly template: {
				readonly spec: {
					readonly terminationGracePeriodSeconds: number;
					readonly containers: readonly [ClientContainer];
					readonly volumes: readonly { readonly name: string }[];
				};
			};
		};
	};
}

interface Level {
	readonly processMemory?: { readonly quota: string };
	readonly hostPath?: { readonly paths: readonly string[]; readonly quotas: readonly string[] };
	readonly emptyDir?: { readonly quota: string; readonly medium?: string };
	readonly high?: string;
	readonly low?: string;
}

export interface CacheRuntime {
	readonly metadata: { readonly name: string; readonly namespace?: string };
	readonly spec: {
		readonly runtimeClassName: string;
		readonly options?: Readonly<Record<string, string>>;
		readonly master: { readonly disabled: true };
		readonly worker: { readonly disabled: true };
		readonly client: {
			readonly options?: Readonly<Record<string, string>>;
			readonly tieredStore?: { readonly levels: readonly Level[] };
		};
	};
}

/** The text of runtime.json that Fluid (main of July 2026) writes where only the client is enabled, byte by byte. */
export function renderRuntimeConfig(
	{ metadata, spec }: Dataset,
	runtime: CacheRuntime,
	runtimeClass: CacheRuntimeClass,
): string {
	const { name, namespace = "default" } = metadata;
	const { client, options } = runtime.spec;
	const { accessModes = [], sharedOptions, sharedEncryptOptions, mounts = [] } = spec;
	const levels = (client.tieredStore?.levels ?? []).map(levelOf);
	return goJson({
		mounts: mounts.map((mount) => ({
			mountPoint: mount.mountPoint,
			options: unlessEmpty({ ...sharedOptions, ...mount.options }),
			encryptOptions: unlessEmpty({ ...secretPaths(sharedEncryptOptions), ...secretPaths(mount.encryptOptions) }),
			name: mount.name || undefined,
			path: mount.path || `/${mount.name}`,
			readOnly: mount.readOnly || undefined,
			shared: mount.shared || undefined,
		})),
		accessModes: accessModes.length === 0 ? ["ReadOnlyMany"] : accessModes,
		targetPath: `/runtime-mnt/cache/${namespace}/${name}/cache-fuse`,
		client: {
			enabled: true,
			name: `${name}-client`,
			options: unlessEmpty({ ...runtimeClass.topology.client.options, ...options, ...client.options }),
			service: { name: "" },
			tieredStoreLevels: levels.length === 0 ? undefined : levels,
		},
	});
}

function levelOf({ processMemory, hostPath, emptyDir, high, low }: Level, level: number) {
	const place = (kind: string, index = 0): string =>
		`/etc/fluid/mount/tiered-store/level-${level}-index-${index}-${kind}`;
	const marks = { high: high || undefined, low: low || undefined };
	if (processMemory !== undefined)
		return { mountPaths: ["/dev/shm"], mediumType: "MEM", quotas: [processMemory.quota], ...marks };
	if (hostPath !== undefined) {
		const mountPaths = hostPath.paths.map((_, index) => place("hostpath", index));
		return { mountPaths, mediumType: "HDD", quotas: hostPath.quotas, ...marks };
	}
	return {
		mountPaths: [place("emptydir")],
		mediumType: emptyDir?.medium === "Memory" ? "MEM" : "HDD",
		quotas: [emptyDir?.quota ?? "0"],
		...marks,
	};
}
