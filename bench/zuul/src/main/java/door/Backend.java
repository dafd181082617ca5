package door;

import com.netflix.appinfo.InstanceInfo;
import com.netflix.client.config.IClientConfig;
import com.netflix.config.ConfigurationManager;
import com.netflix.loadbalancer.AbstractServerList;
import com.netflix.niws.loadbalancer.DiscoveryEnabledServer;
import java.util.List;

/** The one backend, in the form in which Zuul would have it from Eureka (it takes no other). */
public final class Backend extends AbstractServerList<DiscoveryEnabledServer> {
    static final String PORT = "door.backend.port";

    @Override
    public void initWithNiwsConfig(IClientConfig settings) {}

    @Override
    public List<DiscoveryEnabledServer> getInitialListOfServers() {
        int port = ConfigurationManager.getConfigInstance().getInt(PORT);
        InstanceInfo instance = InstanceInfo.Builder.newBuilder()
                .setAppName("backend")
                .setInstanceId("backend-1")
                .setHostName("127.0.0.1")
                .setIPAddr("127.0.0.1")
                .setPort(port)
                .build();
        return List.of(new DiscoveryEnabledServer(instance, false));
    }

    @Override
    public List<DiscoveryEnabledServer> getUpdatedListOfServers() {
        return getInitialListOfServers();
    }
}
