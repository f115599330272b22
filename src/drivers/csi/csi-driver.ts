import type { InVolume, Volume, VolumeOption } from "./volume.ts";

/** A CSI driver for S3: how the volumes that it provisions say what they are. */
export interface CsiDriver {
	/** By name. One that is in no table is refused. */
	readonly attributes: Rules;
	readonly mountOptions: Rules;
	readonly flags: Rules;
	/** The attribute that they are in. */
	readonly flagsIn: string;
	/** Key of the Secret for each of our options. */
	readonly keys: readonly { readonly key: string; readonly option: string; readonly isPlain?: boolean }[];
	/** Keys that need not be there, and that no option stands for: what is wrong with what they say, if anything. */
	readonly checkedKeys?: Readonly<Record<string, (value: string, volume: Volume) => string | undefined>>;
	/** Where the data is, from what was read. */
	readonly source: (volume: Volume, draft: Draft) => void;
}

/** What becomes of an attribute or option. */
export type Rule =
	| {
			readonly kind: "used";
			/** As what, for people. */
			readonly as: string;
			readonly read: (value: string, draft: Draft, at: InVolume) => void;
	  }
	| { readonly kind: "unused"; readonly why: string }
	| { readonly kind: "refused"; readonly why: string };

export type Rules = Readonly<Record<string, Rule>>;

export interface Draft {
	bucket: string;
	prefix: string;
	readOnly?: InVolume;
	/** Options under the native driver's names. */
	readonly options: VolumeOption[];
	readonly unused: { at: InVolume; why: string }[];
	readonly faults: { at: InVolume; message: string }[];
	readonly writeFaults: { at: InVolume; message: string }[];
	readonly seen: Set<string>;
}
