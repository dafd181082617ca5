package redqueen.bench;

import com.netflix.appinfo.ApplicationInfoManager;
import com.netflix.appinfo.InstanceInfo;
import com.netflix.appinfo.MyDataCenterInstanceConfig;
import com.netflix.appinfo.providers.EurekaConfigBasedInstanceInfoProvider;
import com.netflix.discovery.DefaultEurekaClientConfig;
import com.netflix.discovery.DiscoveryClient;
import com.netflix.discovery.Jersey3DiscoveryClientOptionalArgs;
import com.netflix.discovery.shared.Application;
import com.netflix.discovery.shared.transport.jersey3.Jersey3TransportClientFactories;
import java.util.HashSet;
import java.util.Set;

/**
 * Netflix's client as a reader with its default settings: {@code EurekaReader URL}.
 *
 * <p>Prints a line whenever its own view changes: "+ id" or "- id", with the wall clock in
 * milliseconds. It looks at that view (in its memory) every ten milliseconds.
 */
public final class EurekaReader {
    private EurekaReader() {}

    public static void main(String[] arguments) throws Exception {
        System.setProperty("eureka.registration.enabled", "false");
        System.setProperty("eureka.serviceUrl.default", arguments[0]);
        MyDataCenterInstanceConfig own = new MyDataCenterInstanceConfig();
        ApplicationInfoManager manager =
            new ApplicationInfoManager(own, new EurekaConfigBasedInstanceInfoProvider(own).get());
        DiscoveryClient client = new DiscoveryClient(
            manager,
            new DefaultEurekaClientConfig(),
            Jersey3TransportClientFactories.getInstance(),
            new Jersey3DiscoveryClientOptionalArgs());
        System.out.println("ready");
        Set<String> known = new HashSet<>();
        while (true) {
            known = told(known, names(client));
            Thread.sleep(10);
        }
    }

    private static Set<String> names(DiscoveryClient client) {
        Set<String> names = new HashSet<>();
        for (Application application : client.getApplications().getRegisteredApplications()) {
            for (InstanceInfo instance : application.getInstances()) {
                names.add(instance.getInstanceId());
            }
        }
        return names;
    }

    private static Set<String> told(Set<String> before, Set<String> now) {
        long wall = System.currentTimeMillis();
        for (String name : now) {
            if (!before.contains(name)) {
                System.out.println("+ " + name + " " + wall);
            }
        }
        for (String name : before) {
            if (!now.contains(name)) {
                System.out.println("- " + name + " " + wall);
            }
        }
        return now;
    }
}
