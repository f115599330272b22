import type { Driver, PreparedMount } from "../drivers/driver.ts";

/** What one supervisor keeps: a mount of the config, or one that several of them share. */
export interface Supervised {
	readonly name: string;
	readonly driver: Driver;
	readonly source: string;
	readonly target: string;
	readonly readOnly: boolean;
	/** Of several that are its folders, that one's name. */
	nameOf?(folder: string): string | undefined;
	/** The other way round. */
	folderOf?(name: string): string | undefined;
	/** Looks at everything that a start needs, now. */
	prepare(): Promise<{ readonly mount: PreparedMount }>;
}

/** How a mount became another one of the same place. */
export type Changed =
	/** It goes on as that; these options count from its next start on. */
	| { readonly kind: "updated"; readonly later: readonly string[] }
	/** Another process serves what is opened from now on. */
	| { readonly kind: "replaced" }
	/** It is not served, and will be that when it is. */
	| { readonly kind: "noted" };

export interface ChangeOptions {
	/** To wait so long before another process is started, so that not all of a cluster do at once. */
	readonly delayMs: number;
	readonly signal: AbortSignal;
}
