package redqueen.clients;

import com.netflix.appinfo.ApplicationInfoManager;
import com.netflix.appinfo.InstanceInfo;
import com.netflix.appinfo.MyDataCenterInstanceConfig;
import com.netflix.appinfo.providers.EurekaConfigBasedInstanceInfoProvider;
import com.netflix.discovery.DefaultEurekaClientConfig;
import com.netflix.discovery.DiscoveryClient;
import com.netflix.discovery.Jersey3DiscoveryClientOptionalArgs;
import com.netflix.discovery.shared.Application;
import com.netflix.discovery.shared.transport.jersey3.Jersey3TransportClientFactories;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * Netflix's own client, unchanged: registers, renews and follows, and tells what it sees.
 *
 * <p>Arguments: base URLs (with commas), app, instance id, port. Prints {"view": {id: status}} whenever
 * its own applications change; "leave" on standard input makes it leave and end.
 */
public final class Client {
    private Client() {}

    public static void main(String[] arguments) throws Exception {
        String app = arguments[1];
        set("serviceUrl.default", Arrays.stream(arguments[0].split(","))
            .map(url -> url + "/eureka/v2/")
            .collect(Collectors.joining(",")));
        set("name", app);
        set("vipAddress", app.toLowerCase());
        set("instanceId", arguments[2]);
        set("port", arguments[3]);
        set("metadata.language", "java");
        set("lease.renewalInterval", "1");
        set("lease.duration", "10");
        set("client.refresh.interval", "1");
        set("appinfo.initial.replicate.time", "0");
        set("appinfo.replicate.interval", "1");
        set("shouldFilterOnlyUpInstances", "false");

        MyDataCenterInstanceConfig own = new Loopback();
        InstanceInfo info = new EurekaConfigBasedInstanceInfoProvider(own).get();
        ApplicationInfoManager manager = new ApplicationInfoManager(own, info);
        DiscoveryClient client = new DiscoveryClient(
            manager,
            new DefaultEurekaClientConfig(),
            Jersey3TransportClientFactories.getInstance(),
            new Jersey3DiscoveryClientOptionalArgs());
        manager.setInstanceStatus(InstanceInfo.InstanceStatus.UP);
        Thread teller = new Thread(() -> tell(client));
        teller.setDaemon(true);
        teller.start();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            if (line.equals("leave")) {
                client.shutdown();
                System.exit(0);
            }
        }
    }

    private static void set(String name, String value) {
        System.setProperty("eureka." + name, value);
    }

    private static void tell(DiscoveryClient client) {
        String told = "";
        while (true) {
            String line = view(client).entrySet().stream()
                .map(entry -> '"' + entry.getKey() + "\": \"" + entry.getValue() + '"')
                .collect(Collectors.joining(", ", "{\"view\": {", "}}"));
            if (!line.equals(told)) {
                System.out.println(line);
            }
            told = line;
            try {
                Thread.sleep(50);
            } catch (InterruptedException ended) {
                return;
            }
        }
    }

    private static Map<String, String> view(DiscoveryClient client) {
        Map<String, String> view = new TreeMap<>();
        for (Application application : client.getApplications().getRegisteredApplications()) {
            for (InstanceInfo instance : application.getInstances()) {
                view.put(instance.getInstanceId(), instance.getStatus().name());
            }
        }
        return view;
    }

    /** The machine's name may lead nowhere: this instance is on loopback. */
    private static final class Loopback extends MyDataCenterInstanceConfig {
        @Override
        public String getHostName(boolean refresh) {
            return "127.0.0.1";
        }

        @Override
        public String getIpAddress() {
            return "127.0.0.1";
        }
    }
}
