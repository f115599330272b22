import { existsSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { parseAllDocuments } from "yaml";

interface EncryptOption {
	readonly name: string;
	readonly valueFrom: { readonly secretKeyRef: { readonly name: string; readonly key: string } };
}

/** The fields of a Dataset that reach the config file. */
export interface Dataset {
	readonly metadata: { readonly name: string; readonly namespace?: string };
	readonly spec: {
		readonly mounts?: readonly {
			readonly mountPoint: string;
			readonly options?: Readonly<Record<string, string>>;
			readonly encryptOptions?: readonly EncryptOption[];
			readonly name?: string;
			readonly path?: string;
			readonly readOnly?: boolean;
			readonly shared?: boolean;
		}[];
		readonly accessModes?: readonly string[];
		readonly sharedOptions?: Readonly<Record<string, string>>;
		readonly sharedEncryptOptions?: readonly EncryptOption[];
	};
}

export interface ThinRuntime {
	readonly metadata: { readonly name: string; readonly namespace?: string };
	readonly spec: {
		readonly profileName?: string;
		readonly fuse?: { readonly options?: Readonly<Record<string, string>> };
	};
}

interface SecretRef {
	readonly name: string;
	readonly namespace: string;
}

/** The fields of a PersistentVolume that reach the config file. */
export interface PersistentVolume {
	readonly spec: {
		readonly mountOptions?: readonly string[];
		readonly claimRef: { readonly name: string };
		readonly csi: {
			readonly driver: string;
			readonly volumeHandle: string;
			readonly readOnly?: boolean;
			readonly fsType?: string;
			readonly volumeAttributes?: Readonly<Record<string, string>>;
			readonly controllerPublishSecretRef?: SecretRef;
			readonly nodeStageSecretRef?: SecretRef;
			readonly nodePublishSecretRef?: SecretRef;
		};
	};
}

/**
 * The text of config.json that Fluid (1.0.1 or later, in its default mode) writes for a Dataset and its ThinRuntime,
 * byte by byte.
 */
export function renderFluidConfig(
	{ metadata, spec }: Dataset,
	runtime: ThinRuntime,
	volumes: readonly PersistentVolume[] = [],
): string {
	const { name, namespace = "default" } = metadata;
	const mounts = (spec.mounts ?? []).map((mount) => ({
		mountPoint: mount.mountPoint,
		options: unlessEmpty({
			...spec.sharedOptions,
			...mount.options,
			...secretPaths(spec.sharedEncryptOptions),
			...secretPaths(mount.encryptOptions),
		}),
		name: mount.name || undefined,
		path: mount.path || undefined,
		readOnly: mount.readOnly || undefined,
		shared: mount.shared || undefined,
	}));
	const { accessModes = [] } = spec;
	const config = {
		mounts,
		targetPath: `/runtime-mnt/thin/${namespace}/${name}/thin-fuse`,
		runtimeOptions: unlessEmpty(runtime.spec.fuse?.options ?? {}),
		...(volumes.length > 0 && claimsOf(volumes)),
		accessModes: accessModes.length === 0 ? ["ReadOnlyMany"] : accessModes,
	};
	return `${goJson(config)}\n`;
}

/** As Go's encoding/json escapes it. */
export function goJson(value: unknown): string {
	const escape = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
	return JSON.stringify(value).replaceAll(/[<>&\u2028\u2029]/g, escape);
}

/** The PersistentVolumes of an example: those in its volume.yaml, if it has one. */
export function volumesOf(folder: string): PersistentVolume[] {
	const file = join(folder, "volume.yaml");
	const documents = existsSync(file) ? parseAllDocuments(readFileSync(file, "utf8")) : [];
	return documents
		.map((document) => document.toJS() as PersistentVolume & { readonly kind: string })
		.filter(({ kind }) => kind === "PersistentVolume");
}

/** As Go writes the fields of a CSI source. */
function claimsOf(volumes: readonly PersistentVolume[]): Record<string, unknown> {
	const source = ({ spec: { csi } }: PersistentVolume): unknown => ({
		driver: csi.driver,
		volumeHandle: csi.volumeHandle,
		readOnly: csi.readOnly === true || undefined,
		fsType: csi.fsType || undefined,
		volumeAttributes: unlessEmpty(csi.volumeAttributes ?? {}),
		controllerPublishSecretRef: csi.controllerPublishSecretRef,
		nodeStageSecretRef: csi.nodeStageSecretRef,
		nodePublishSecretRef: csi.nodePublishSecretRef,
	});
	const byClaim = <Value>(value: (volume: PersistentVolume) => Value): Record<string, Value> =>
		Object.fromEntries(volumes.map((volume) => [volume.spec.claimRef.name, value(volume)]));
	return {
		persistentVolumeAttrs: byClaim(source),
		persistentVolumeMountOptions: byClaim(({ spec }) => spec.mountOptions ?? null),
	};
}

export function secretPaths(options: readonly EncryptOption[] = []): Record<string, string> {
	const path = ({ valueFrom: { secretKeyRef: ref } }: EncryptOption): string =>
		posix.join("/etc/fluid/secrets", ref.name, ref.key);
	return Object.fromEntries(options.map((option) => [option.name, path(option)]));
}

/** Sorted by key, as Go writes a map; Go leaves an empty one out. */
export function unlessEmpty(options: Readonly<Record<string, string>>): Record<string, string> | undefined {
	const sorted = Object.entries(options).toSorted(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
	return sorted.length === 0 ? undefined : Object.fromEntries(sorted);
}
