/** A PersistentVolume of a CSI driver, as Fluid describes it to the storage pod. */
export interface Volume {
	/** The CSI driver's name, such as `s3.csi.aws.com`. */
	readonly driver: string;
	/** The volume's own name at its CSI driver. */
	readonly handle: string;
	/** `volumeAttributes` of the PersistentVolume. */
	readonly attributes: Readonly<Record<string, string>>;
	/** `mountOptions` of the PersistentVolume, as they are written there. */
	readonly mountOptions: readonly string[];
	/** The folder whose files are the keys of `nodePublishSecretRef`; absent when the volume has none. It may not be there yet. */
	readonly secretFolder?: string;
}

/** Where in a volume something stands. */
export type InVolume =
	| { readonly kind: "handle" }
	| { readonly kind: "attribute"; readonly name: string }
	| { readonly kind: "mountOption"; readonly index: number }
	| { readonly kind: "secret"; readonly key: string };

/** What a driver makes of a volume. */
export interface ReadVolume {
	/** The source that it mounts for the volume. */
	readonly source: string;
	/** Options that the volume gives it; those of the Dataset's mount come before them. */
	readonly options: readonly VolumeOption[];
	/** What says that it is read-only. */
	readonly readOnly?: InVolume;
	/** What has no effect here, with the reason. */
	readonly unused: readonly { readonly at: InVolume; readonly why: string }[];
	readonly faults: readonly { readonly at: InVolume; readonly message: string }[];
	/** What its CSI driver does not allow and this driver cannot forbid: faults of a mount that is not read-only. */
	readonly writeFaults: readonly { readonly at: InVolume; readonly message: string }[];
	readonly secretChecks: readonly SecretCheck[];
}

/** A file of the volume's secretFolder, which need not be there. */
export interface SecretCheck {
	readonly at: InVolume;
	readonly file: string;
	/** What is wrong with what it says, if anything. */
	readonly faultOf: (content: string) => string | undefined;
}

export interface VolumeOption {
	readonly name: string;
	/** Or the path of a file in the volume's secretFolder. */
	readonly value: string;
	readonly at: InVolume;
	/** It stands in the Secret, need not be there, and is no secret: an address, for one. */
	readonly isPlain?: boolean;
}
