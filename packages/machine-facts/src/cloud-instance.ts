import type { SystemFiles } from './internal/read-text.ts';

/** The cloud that a machine is rented from. */
export interface CloudInstance {
  /** `aws`, `azure`, `gcp`, `oracle`, `alibaba`, `digitalocean`, `hetzner`, `openstack`, or what cloud-init calls it. */
  readonly cloud: string;
  readonly instanceId?: string;
  readonly instanceType?: string;
  readonly region?: string;
  readonly zone?: string;
}

/** How firmware tables name clouds: the table, what it holds, the name. */
const marks: readonly (readonly [table: string, holds: RegExp, cloud: string])[] = [
  ['sys_vendor', /^Amazon EC2$/i, 'aws'],
  ['bios_version', /amazon$/i, 'aws'],
  ['product_name', /^Google( Compute Engine)?$/i, 'gcp'],
  ['chassis_asset_tag', /^7783-7084-3265-9085-8269-3286-77$/, 'azure'],
  ['chassis_asset_tag', /^OracleCloud\.com$/i, 'oracle'],
  ['sys_vendor', /^Alibaba Cloud/i, 'alibaba'],
  ['sys_vendor', /^DigitalOcean$/i, 'digitalocean'],
  ['sys_vendor', /^Hetzner$/i, 'hetzner'],
  ['product_name', /^OpenStack (Nova|Compute)$/i, 'openstack'],
];

/**
 * What can be told of the cloud without asking it: by the firmware's tables (DMI, as the kernel shows them) and by what
 * cloud-init has left (`/run/cloud-init/instance-data.json`). Undefined on other machines.
 */
export function cloudInstance(files: SystemFiles): CloudInstance | undefined {
  const dmi = (table: string): string | undefined => files.read(`/sys/class/dmi/id/${table}`) || undefined;
  const byFirmware = marks.find(([table, holds]) => holds.test(dmi(table) ?? ''))?.[2];
  const left = cloudInitData(files.read('/run/cloud-init/instance-data.json'));
  const named = left.cloud_name ?? left.platform;
  // Without a cloud, cloud-init names where its data came from.
  const cloud = byFirmware ?? (named === 'none' || named === 'nocloud' || named === 'unknown' ? undefined : named);
  if (cloud === undefined) return undefined;
  const isAmazon = byFirmware === 'aws';
  const tag = isAmazon ? dmi('board_asset_tag') : undefined;
  const instanceId = left.instance_id ?? (tag?.startsWith('i-') ? tag : undefined);
  const instanceType = left.instance_type ?? (isAmazon ? dmi('product_name') : undefined);
  return {
    cloud,
    ...(instanceId === undefined ? {} : { instanceId }),
    ...(instanceType === undefined ? {} : { instanceType }),
    ...(left.region === undefined ? {} : { region: left.region }),
    ...(left.availability_zone === undefined ? {} : { zone: left.availability_zone }),
  };
}

type CloudInitKey = 'cloud_name' | 'platform' | 'instance_id' | 'region' | 'availability_zone' | 'instance_type';

function cloudInitData(text: string | undefined): Partial<Record<CloudInitKey, string>> {
  const found: Partial<Record<CloudInitKey, string>> = {};
  try {
    const data = JSON.parse(text ?? '{}') as {
      v1?: Record<string, unknown>;
      ds?: { meta_data?: Record<string, unknown> };
    };
    const take = (key: CloudInitKey, value: unknown): void => {
      if (typeof value === 'string' && value !== '' && value.length <= 256) found[key] = value;
    };
    for (const key of ['cloud_name', 'platform', 'instance_id', 'region', 'availability_zone'] as const) {
      take(key, data.v1?.[key]);
    }
    take('instance_type', data.ds?.meta_data?.['instance_type'] ?? data.ds?.meta_data?.['instance-type']);
  } catch {
    // What is not JSON tells nothing.
  }
  return found;
}
