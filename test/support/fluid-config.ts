import { posix } from "node:path";

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

/**
 * The text of config.json that Fluid (1.0.1 or later, in its default mode) writes for a Dataset and its ThinRuntime,
 * byte by byte. Without pvc:// mounts.
 */
export function renderFluidConfig({ metadata, spec }: Dataset, runtime: ThinRuntime): string {
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
		accessModes: accessModes.length === 0 ? ["ReadOnlyMany"] : accessModes,
	};
	const escaped = /[<>&\u2028\u2029]/g;
	const escape = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
	return `${JSON.stringify(config).replaceAll(escaped, escape)}\n`;
}

function secretPaths(options: readonly EncryptOption[] = []): Record<string, string> {
	const path = ({ valueFrom: { secretKeyRef: ref } }: EncryptOption): string =>
		posix.join("/etc/fluid/secrets", ref.name, ref.key);
	return Object.fromEntries(options.map((option) => [option.name, path(option)]));
}

/** Sorted by key, as Go writes a map; Go leaves an empty one out. */
function unlessEmpty(options: Readonly<Record<string, string>>): Record<string, string> | undefined {
	const sorted = Object.entries(options).toSorted(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
	return sorted.length === 0 ? undefined : Object.fromEntries(sorted);
}
