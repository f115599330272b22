import { homedir } from "node:os";
import { resolve } from "node:path";
import { LauncherError } from "../../errors.ts";
import { FileFault, readNamedFile } from "../../named-file.ts";
import { ExpiringKeys, type ProvidedKeys } from "./expiring-keys.ts";
import { describeProvider, expiredAlready, identityFault, noIdentity } from "./identity-fault.ts";
import { candidatesFor, isSet, type ProviderName } from "./identity-provider.ts";
import type { StaticCredentials } from "../object-store.ts";
import { proxyFor } from "../http/proxy.ts";
import { systemTrust } from "../http/trust.ts";
import { within } from "../../within.ts";

/** Keys of the pod's own identity. */
export interface IdentityKeys extends ProvidedKeys {
	/** To sign for, where the mount names none. */
	readonly region?: string;
	/** What gave them, for people. */
	readonly provider: string;
}

/** The pod's own identity, for mounts without keys. */
export interface Identity {
	/**
	 * Keys that are good now; they are kept and renewed. `refused`: the server does not take these any more. Rejects with
	 * IDENTITY_MISSING or IDENTITY_UNAVAILABLE.
	 */
	readonly keys: (options?: { readonly refused?: StaticCredentials | undefined }) => Promise<IdentityKeys>;
}

export interface IdentityEvents {
	readonly onRenewed?: (keys: IdentityKeys) => void;
	readonly onFailed?: (error: LauncherError, retryInMs: number) => void;
}

type Provide = () => Promise<ProvidedKeys>;

/** Of all that a provider does, its own retries too. */
const limitMs = 10_000;

/**
 * The identity that the environment's variables give: they must be those of this process, since the SDK reads them itself. Nothing is
 * read, asked or loaded before the first keys are wanted.
 */
export function createIdentity(variables: NodeJS.ProcessEnv, events: IdentityEvents = {}): Identity {
	// Kept, since they remember what they know already.
	const providers = new Map<ProviderName, Provide>();
	const provide = async (): Promise<IdentityKeys> => {
		for (const { provider, isOptional } of candidatesFor(variables)) {
			try {
				let ask = providers.get(provider);
				if (ask === undefined) providers.set(provider, (ask = await createProvide(provider, variables)));
				await requireReadable(provider, variables);
				const keys = await within(ask(), limitMs);
				if (keys === undefined) throw new Error(`no answer within ${limitMs / 1000} s`);
				const region = await regionFor(provider, variables);
				return { ...keys, provider: describeProvider(provider, variables), ...(isSet(region) && { region }) };
			} catch (thrown) {
				if (isOptional && hasNothingToSay(thrown)) continue;
				throw thrown instanceof LauncherError ? thrown : identityFault(provider, thrown, variables);
			}
		}
		throw noIdentity();
	};
	const { onRenewed, onFailed } = events;
	const keys = new ExpiringKeys({
		provide,
		expired: expiredAlready,
		...(onRenewed !== undefined && { onRenewed }),
		...(onFailed !== undefined && {
			onFailed: (error, retryInMs) => {
				if (error instanceof LauncherError) onFailed(error, retryInMs);
			},
		}),
	});
	return { keys: async (options) => keys.get(options) };
}

async function createProvide(provider: ProviderName, variables: NodeJS.ProcessEnv): Promise<Provide> {
	if (provider === "environment") return async () => keysIn(variables);
	const { createProvider } = await import("./aws-providers.ts");
	const proxy = proxyFor(stsUrl(variables), variables);
	const ask = createProvider(provider, { proxy, trust: systemTrust });
	return async () => {
		const { accessKeyId, secretAccessKey, sessionToken, expiration } = await ask();
		return {
			accessKeyId,
			secretAccessKey,
			...(sessionToken !== undefined && { sessionToken }),
			...(expiration !== undefined && { expiresAt: expiration }),
		};
	};
}

function keysIn(variables: NodeJS.ProcessEnv): ProvidedKeys {
	const {
		AWS_ACCESS_KEY_ID: accessKeyId,
		AWS_SECRET_ACCESS_KEY: secretAccessKey,
		AWS_SESSION_TOKEN: sessionToken,
	} = variables;
	if (!isSet(accessKeyId)) throw new Error("AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID");
	if (!isSet(secretAccessKey)) throw new Error("AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY");
	return { accessKeyId, secretAccessKey, ...(isSet(sessionToken) && { sessionToken }) };
}

async function regionFor(provider: ProviderName, variables: NodeJS.ProcessEnv): Promise<string | undefined> {
	const { AWS_REGION: region, AWS_DEFAULT_REGION: fallback } = variables;
	if (isSet(region)) return region;
	if (isSet(fallback)) return fallback;
	if (provider !== "profile") return undefined;
	const { profileRegion } = await import("./aws-providers.ts");
	return profileRegion();
}

/** The SDK reads its files with threads of this process, whatever they are: they are looked at first. Throws FileFault. */
async function requireReadable(provider: ProviderName, variables: NodeJS.ProcessEnv): Promise<void> {
	await Promise.all(
		filesOf(provider, variables).map(async (file) => {
			try {
				await readNamedFile(file);
			} catch (error) {
				// That it is not there, or may not be read, the SDK says itself.
				if (!(error instanceof FileFault)) throw error;
				if (error.kind !== "unreadable") throw new FileFault(error.kind, `${file} ${error.message}`);
			}
		}),
	);
}

function filesOf(provider: ProviderName, variables: NodeJS.ProcessEnv): string[] {
	const { HOME: home = homedir() } = variables;
	const named = (name: string, byDefault = ""): string[] => {
		const file = variables[name];
		return [isSet(file) ? file : byDefault].filter(isSet).map((path) => resolve(path));
	};
	switch (provider) {
		case "profile":
			return [
				...named("AWS_CONFIG_FILE", `${home}/.aws/config`),
				...named("AWS_SHARED_CREDENTIALS_FILE", `${home}/.aws/credentials`),
			];
		case "web identity":
			return named("AWS_WEB_IDENTITY_TOKEN_FILE");
		case "container":
			return named("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
		case "environment":
		case "instance metadata":
			return [];
		default:
			return provider satisfies never;
	}
}

/** Only for whether a proxy leads there: the SDK finds the address itself. */
function stsUrl({ AWS_ENDPOINT_URL_STS: own, AWS_REGION: region }: NodeJS.ProcessEnv): URL {
	const regional = isSet(region) && /^[a-z0-9-]+$/.test(region) ? `sts.${region}` : "sts";
	return URL.parse(own ?? "") ?? new URL(`https://${regional}.amazonaws.com`);
}

/** The SDK's mark of a provider that is not configured. */
function hasNothingToSay(thrown: unknown): boolean {
	return thrown instanceof Error && "tryNextLink" in thrown && thrown.tryNextLink === true;
}
