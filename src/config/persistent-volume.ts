import { join } from "node:path";
import * as z from "zod";
import type { InVolume, ReadVolume, Volume } from "../drivers/csi/volume.ts";
import { below, shown, withoutPassword, type Fault } from "../options/faults.ts";

const attributes = z.record(z.string(), z.string()).nullish();

/** One entry of persistentVolumeAttrs: the CSI source of a PersistentVolume. Its other secrets Fluid does not hand over. */
const csiSource = z.object({
	driver: z.string().min(1).describe("Name of the CSI driver."),
	volumeHandle: z.string().min(1).describe("The volume's own name at its CSI driver."),
	readOnly: z.boolean().nullish().describe("The mount is read-only, whatever else says otherwise."),
	volumeAttributes: attributes.describe("What the CSI driver is told."),
	nodePublishSecretRef: z
		.object({
			// It becomes the name of a folder.
			name: z.string().regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/, { error: "expected the name of a Secret" }),
		})
		.nullish()
		.describe("The Secret that Fluid mounts at /etc/fluid/secrets/<name>."),
});

const mountOptions = z.array(z.string()).nullish();

/** What the fields of the file hold, for its JSON Schema. They are read claim by claim: a fault in one is of its mount alone. */
export const persistentVolumeFields = {
	persistentVolumeAttrs: z
		.record(z.string(), csiSource.nullish())
		.nullish()
		.describe("Of pvc:// mounts: by claim, the CSI source of the PersistentVolume that it is bound to."),
	persistentVolumeMountOptions: z
		.record(z.string(), mountOptions)
		.nullish()
		.describe("Of pvc:// mounts: by claim, the mountOptions of that PersistentVolume."),
};

/** The volume of a pvc:// mount, and where in the file it stands. */
export interface Claimed {
	readonly volume: Volume;
	/** Below the volume's root: what follows the claim's name in the source. */
	readonly folder: string;
	/** JSON path of what says that the volume is read-only. */
	readonly readOnly?: string;
	/** JSON path of a part of the volume. */
	readonly pathOf: (at: InVolume) => string;
}

/** What a `pvc://claim` stands for, or what is wrong with it. */
export function claimed(
	source: string,
	path: string,
	file: { readonly persistentVolumeAttrs?: unknown; readonly persistentVolumeMountOptions?: unknown },
	secretsDirectory: string,
): Claimed | Fault[] {
	const [, claim = "", rest = ""] = /^pvc:\/\/([^/]*)\/?(.*)$/is.exec(source) ?? [];
	const given = entry(file.persistentVolumeAttrs, claim);
	if (given === undefined || given === null) {
		const message = `persistentVolumeAttrs has no volume of the claim ${shown(withoutPassword(claim))}: Fluid writes it for a claim that is bound to a volume of a CSI driver`;
		return [{ path: `${path}.mountPoint`, message }];
	}
	const attrsPath = below("persistentVolumeAttrs", claim);
	const optionsPath = below("persistentVolumeMountOptions", claim);
	const written = csiSource.safeParse(given);
	const options = mountOptions.safeParse(entry(file.persistentVolumeMountOptions, claim));
	if (written.data === undefined || !options.success) {
		const faultsOf = (base: string, issues: readonly z.core.$ZodIssue[] = []): Fault[] =>
			issues.map((issue) => ({ path: issue.path.reduce<string>(below, base), message: issue.message }));
		return [...faultsOf(attrsPath, written.error?.issues), ...faultsOf(optionsPath, options.error?.issues)];
	}
	const { driver, volumeHandle, readOnly, volumeAttributes, nodePublishSecretRef: secret } = written.data;
	const words = options.data ?? [];
	const readOnlyWord = words.findIndex((word) => /^(--)?(ro|read-only)$/.test(word.trim()));
	const saysReadOnly = readOnly === true ? `${attrsPath}.readOnly` : below(optionsPath, readOnlyWord);
	return {
		volume: {
			driver,
			handle: volumeHandle,
			attributes: volumeAttributes ?? {},
			mountOptions: words,
			...(secret !== null && secret !== undefined && { secretFolder: join(secretsDirectory, secret.name) }),
		},
		folder: rest,
		...((readOnly === true || readOnlyWord !== -1) && { readOnly: saysReadOnly }),
		pathOf(at) {
			switch (at.kind) {
				case "handle":
					return `${attrsPath}.volumeHandle`;
				case "attribute":
					return below(`${attrsPath}.volumeAttributes`, at.name);
				case "mountOption":
					return below(optionsPath, at.index);
				case "secret":
					return below(`${attrsPath}.nodePublishSecretRef`, at.key);
			}
			return at satisfies never;
		},
	};
}

export function isClaim(source: string): boolean {
	return /^pvc:\/\//i.test(source);
}

/** The source that a driver has made of the volume, with the folder below it. */
export function sourceIn({ source }: ReadVolume, folder: string): string {
	return folder === "" ? source : `${source.replace(/\/$/, "")}/${folder}`;
}

function entry(fields: unknown, claim: string): unknown {
	if (typeof fields !== "object" || fields === null || !Object.hasOwn(fields, claim)) return undefined;
	return (fields as Readonly<Record<string, unknown>>)[claim];
}
