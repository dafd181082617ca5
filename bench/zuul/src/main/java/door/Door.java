package door;

import com.netflix.appinfo.ApplicationInfoManager;
import com.netflix.appinfo.MyDataCenterInstanceConfig;
import com.netflix.config.ConfigurationManager;
import com.netflix.netty.common.accesslog.AccessLogPublisher;
import com.netflix.netty.common.channel.config.ChannelConfig;
import com.netflix.netty.common.channel.config.CommonChannelConfigKeys;
import com.netflix.netty.common.metrics.EventLoopGroupMetrics;
import com.netflix.netty.common.proxyprotocol.StripUntrustedProxyHeadersHandler.AllowWhen;
import com.netflix.netty.common.status.ServerStatusManager;
import com.netflix.spectator.api.DefaultRegistry;
import com.netflix.spectator.api.Registry;
import com.netflix.zuul.BasicRequestCompleteHandler;
import com.netflix.zuul.DefaultFilterFactory;
import com.netflix.zuul.StaticFilterLoader;
import com.netflix.zuul.context.ZuulSessionContextDecorator;
import com.netflix.zuul.netty.server.BaseServerStartup;
import com.netflix.zuul.netty.server.ClientRequestReceiver;
import com.netflix.zuul.netty.server.DefaultEventLoopConfig;
import com.netflix.zuul.netty.server.DirectMemoryMonitor;
import com.netflix.zuul.netty.server.NamedSocketAddress;
import com.netflix.zuul.netty.server.Server;
import com.netflix.zuul.netty.server.ZuulServerChannelInitializer;
import com.netflix.zuul.origins.BasicNettyOriginManager;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.group.ChannelGroup;
import java.net.InetSocketAddress;
import java.util.Map;
import java.util.Set;
import org.apache.commons.configuration.AbstractConfiguration;

/** Zuul 2 as a plain proxy: everything that comes in goes to one backend. Arguments: own port, backend's port. */
public final class Door extends BaseServerStartup {
    private final int port;

    private Door(int port, Registry registry, ApplicationInfoManager info) {
        super(
                new ServerStatusManager(info),
                new StaticFilterLoader(new DefaultFilterFactory(), Set.of(Everything.class, Unchanged.class)),
                new ZuulSessionContextDecorator(new BasicNettyOriginManager(registry)),
                (filter, status) -> {},
                new BasicRequestCompleteHandler(),
                registry,
                new DirectMemoryMonitor(registry),
                new EventLoopGroupMetrics(registry),
                new DefaultEventLoopConfig(),
                null,
                info,
                new AccessLogPublisher(
                        "ACCESS",
                        (channel, request) -> ClientRequestReceiver.getRequestFromChannel(channel)
                                .getContext()
                                .getUUID()));
        this.port = port;
    }

    @Override
    protected Map<NamedSocketAddress, ChannelInitializer<?>> chooseAddrsAndChannels(ChannelGroup clients) {
        ChannelConfig settings = defaultChannelConfig("main");
        settings.set(CommonChannelConfigKeys.allowProxyHeadersWhen, AllowWhen.ALWAYS);
        settings.set(CommonChannelConfigKeys.preferProxyProtocolForClientIp, false);
        settings.set(CommonChannelConfigKeys.isSSlFromIntermediary, false);
        settings.set(CommonChannelConfigKeys.withProxyProtocol, false);
        // Kept open, as the other proxies keep theirs.
        settings.set(CommonChannelConfigKeys.maxRequestsPerConnection, Integer.MAX_VALUE);
        NamedSocketAddress address = new NamedSocketAddress("http", new InetSocketAddress("127.0.0.1", port));
        return Map.of(
                address,
                new ZuulServerChannelInitializer(
                        String.valueOf(port), settings, defaultChannelDependencies("main"), clients));
    }

    private static void configure(String backendPort) {
        AbstractConfiguration settings = ConfigurationManager.getConfigInstance();
        settings.setProperty("eureka.name", "door");
        settings.setProperty("eureka.registration.enabled", "false");
        settings.setProperty("eureka.shouldFetchRegistry", "false");
        settings.setProperty("eureka.validateInstanceId", "false");
        settings.setProperty(Backend.PORT, backendPort);
        settings.setProperty("backend.ribbon.NIWSServerListClassName", Backend.class.getName());
        // What Netflix's own benchmark settings switch off.
        settings.setProperty("backend.ribbon.MaxConnectionsPerHost", "-1");
        settings.setProperty("backend.netty.client.maxRequestsPerConnection", "1000000");
        settings.setProperty("backend.netty.client.perServerWaterline", "-1");
        settings.setProperty("zuul.origin.backend.concurrency.protect.enabled", "false");
        settings.setProperty("zuul.server.netty.socket.epoll", "true");
    }

    public static void main(String[] arguments) throws Exception {
        java.util.logging.LogManager.getLogManager().reset();
        configure(arguments[1]);
        ApplicationInfoManager info =
                new ApplicationInfoManager(new MyDataCenterInstanceConfig(), (ApplicationInfoManager.OptionalArgs) null);
        Door door = new Door(Integer.parseInt(arguments[0]), new DefaultRegistry(), info);
        door.init();
        Server server = door.server();
        server.start();
        server.awaitTermination();
    }
}
