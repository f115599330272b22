import http from "node:http";
import https from "node:https";
import type { SecureContext } from "node:tls";
import { fromHttp, fromIni, fromInstanceMetadata, fromTokenFile } from "@aws-sdk/credential-providers";
import { loadSharedConfigFiles } from "@smithy/core/config";
import type { ProviderName } from "./identity-provider.ts";

/** What an SDK's provider gives. */
export interface SdkKeys {
	readonly accessKeyId: string;
	readonly secretAccessKey: string;
	readonly sessionToken?: string | undefined;
	readonly expiration?: Date | undefined;
}

export interface ProviderSettings {
	/** For requests to STS. */
	readonly proxy: URL | undefined;
	readonly trust: () => SecureContext;
}

/** Whoever calls tries again: what they do by themselves must not take long. */
const connectMs = 3000;
const answerMs = 5000;
const nearbyMs = 1000;
const nearbyRetries = 1;

/** They would write to the console, which is not theirs. */
const quiet = {
	trace: () => undefined,
	debug: () => undefined,
	info: () => undefined,
	warn: () => undefined,
	error: () => undefined,
};

/**
 * The SDK's own provider, which reads the environment's variables itself, and each file anew each time. This module is loaded when a
 * mount needs it: the SDK takes 12 MB.
 */
export function createProvider(
	name: Exclude<ProviderName, "environment">,
	{ proxy, trust }: ProviderSettings,
): () => Promise<SdkKeys> {
	const logger = quiet;
	switch (name) {
		case "profile":
			return fromIni({ logger, ignoreCache: true, clientConfig: clientConfig(proxy, trust) });
		case "web identity":
			return fromTokenFile({ logger, clientConfig: clientConfig(proxy, trust) });
		case "container":
			return fromHttp({ logger, timeout: nearbyMs, maxRetries: nearbyRetries });
		case "instance metadata":
			return fromInstanceMetadata({ logger, timeout: nearbyMs, maxRetries: nearbyRetries });
		default:
			return name satisfies never;
	}
}

/** Of the profile that is chosen. */
export async function profileRegion(): Promise<string | undefined> {
	const { configFile, credentialsFile } = await loadSharedConfigFiles({ ignoreCache: true });
	const profile = process.env["AWS_PROFILE"] || "default";
	return credentialsFile[profile]?.["region"] ?? configFile[profile]?.["region"];
}

function clientConfig(proxy: URL | undefined, trust: () => SecureContext) {
	const proxyEnv = proxy === undefined ? undefined : { HTTP_PROXY: proxy.href, HTTPS_PROXY: proxy.href };
	return {
		logger: quiet,
		maxAttempts: 2,
		requestHandler: {
			connectionTimeout: connectMs,
			requestTimeout: answerMs,
			throwOnRequestTimeout: true,
			httpAgent: new http.Agent({ proxyEnv }),
			httpsAgent: new https.Agent({ proxyEnv, secureContext: trust() }),
		},
	};
}
