import { noted, type Yaml } from "./yaml.ts";

/** What the manifests are made for. */
export interface Wanted {
	readonly source: string;
	/** Of the Dataset, and with an ending of the rest. */
	readonly name: string;
	readonly namespace: string | undefined;
	/** Of the Dataset's mount. */
	readonly options: Readonly<Record<string, string>>;
	/** Where its keys stand; undefined: the storage pod's own identity signs. */
	readonly keys: { readonly secret: string; readonly values?: Readonly<Record<string, string>> } | undefined;
	readonly isWritten: boolean;
	/** A profile that is there already. */
	readonly profile: string | undefined;
	readonly image: { readonly name: string; readonly tag: string };
	/** The driver, where it is not the image's own. */
	readonly driver: string | undefined;
	readonly fileSystemType: string;
	readonly cacheDirectory: string | undefined;
	readonly memory: { readonly request: string; readonly limit: string };
	/** For a Prometheus that looks at annotations. */
	readonly isScraped: boolean;
}

const fluid = "data.fluid.io/v1alpha1";

function metadata(name: string, namespace: string | undefined): Yaml {
	return { name, namespace };
}

export function profileName({ profile, name }: Wanted): string {
	return profile ?? `${name}-profile`;
}

/** Once for the cluster: it has no namespace, and may serve any number of Datasets. */
export function profile(wanted: Wanted): Yaml {
	const { image, driver, fileSystemType, cacheDirectory, memory, isScraped } = wanted;
	return {
		apiVersion: fluid,
		kind: "ThinRuntimeProfile",
		metadata: metadata(profileName(wanted), undefined),
		spec: {
			fileSystemType: noted("What the kernel calls the driver's mounts; Fluid waits for it.", fileSystemType),
			volumes: [
				{ name: noted("So that credentials never touch a disk.", "run"), emptyDir: { medium: "Memory" } },
				{
					name: noted(
						"So that it is seen at the end who uses the volume: is waited for, and heals with the next storage pod.",
						"node-proc",
					),
					hostPath: { path: "/proc" },
				},
				...(cacheDirectory === undefined
					? []
					: [{ name: "cache", hostPath: { path: cacheDirectory, type: "DirectoryOrCreate" } }]),
			],
			fuse: {
				image: image.name.startsWith("<")
					? noted("Not published yet: put your own image here.", image.name)
					: image.name,
				imageTag: image.tag,
				imagePullPolicy: "IfNotPresent",
				command: noted("Without -g: the launcher decides in which order its children end.", ["fluid-fuse"]),
				env: driver === undefined ? undefined : [{ name: "FLUID_FUSE_DRIVER", value: driver }],
				podMetadata: isScraped
					? {
							annotations: {
								"prometheus.io/scrape": "true",
								"prometheus.io/port": "9180",
								"prometheus.io/path": "/metrics",
							},
						}
					: undefined,
				readinessProbe: noted(
					"Exec, not HTTP: these pods use the node's network, where two Datasets cannot have the same port.",
					{ exec: { command: ["fluid-fuse", "probe", "ready"] }, periodSeconds: 5, timeoutSeconds: 10 },
				),
				livenessProbe: noted("Fails only when the launcher is beyond repair, never because of a bucket.", {
					exec: { command: ["fluid-fuse", "probe", "live"] },
					initialDelaySeconds: 120,
					periodSeconds: 10,
					timeoutSeconds: 10,
					failureThreshold: 6,
				}),
				volumeMounts: [
					{ name: "run", mountPath: "/run/fluid-fuse" },
					{ name: "node-proc", mountPath: "/host/proc", readOnly: true },
					...(cacheDirectory === undefined ? [] : [{ name: "cache", mountPath: cacheDirectory }]),
				],
				resources: noted("No limit for CPU: a throttled filesystem stalls every application that uses it.", {
					requests: { cpu: "500m", memory: memory.request },
					limits: { memory: memory.limit },
				}),
				lifecycle: noted("Fluid before 1.0.8 does not know this field: leave it out there.", {
					preStop: { exec: { command: ["fluid-fuse", "prestop"] } },
				}),
			},
		},
	};
}

export function secret({ namespace, keys }: Wanted): Yaml | undefined {
	if (keys?.values === undefined) return undefined;
	return {
		apiVersion: "v1",
		kind: "Secret",
		metadata: metadata(keys.secret, namespace),
		stringData: keys.values,
	};
}

export function dataset({ source, name, namespace, options, keys, isWritten }: Wanted): Yaml {
	const names = keys === undefined ? [] : Object.keys(keys.values ?? { "access-key": "", "secret-key": "" });
	const mount: Yaml = {
		mountPoint: source,
		name,
		options: Object.keys(options).length === 0 ? undefined : options,
		encryptOptions:
			keys === undefined
				? undefined
				: names.map((key) => ({ name: key, valueFrom: { secretKeyRef: { name: keys.secret, key } } })),
	};
	return {
		apiVersion: fluid,
		kind: "Dataset",
		metadata: metadata(name, namespace),
		spec: {
			accessModes: isWritten ? noted("Alone: ReadOnlyMany beside it would win.", ["ReadWriteMany"]) : undefined,
			mounts: isWritten ? [mount] : noted("Read-only, as without accessModes everything is.", [mount]),
		},
	};
}

export function runtime(wanted: Wanted): Yaml {
	const { name, namespace } = wanted;
	return {
		apiVersion: fluid,
		kind: "ThinRuntime",
		metadata: noted("Named like the Dataset: that is how they find each other.", metadata(name, namespace)),
		spec: { profileName: profileName(wanted) },
	};
}

/** An application, to be replaced by one's own. */
export function pod({ name, namespace, isWritten }: Wanted): Yaml {
	const words = isWritten ? "date > /data/now && cat /data/now && sleep 3600" : "ls -l /data && sleep 3600";
	return {
		apiVersion: "v1",
		kind: "Pod",
		metadata: metadata(`test-${name}`, namespace),
		spec: {
			containers: [
				{
					name: "app",
					image: "busybox",
					command: ["sh", "-c", words],
					securityContext: noted("Any user may use the mount: it is not root's alone.", { runAsUser: 1000 }),
					volumeMounts: [
						{
							name: "data",
							mountPath: "/data",
							mountPropagation: noted(
								"So that this pod sees the new mount when a driver had to be started again.",
								"HostToContainer",
							),
						},
					],
				},
			],
			volumes: [{ name: "data", persistentVolumeClaim: { claimName: name } }],
		},
	};
}
